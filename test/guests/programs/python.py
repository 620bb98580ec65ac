"""Python with its C extensions: long integers, decimals, hashes, threads, processes, SQLite, ctypes, compression."""
import array, asyncio, base64, bz2, collections, ctypes, datetime, decimal, fractions, functools, hashlib, heapq, itertools, json, lzma
import math, multiprocessing, os, queue, random, re, signal, socket, sqlite3, statistics, struct, subprocess, sys, threading, zlib

print(sys.version.split()[0], sys.maxsize, sys.float_info.max)
print(math.factorial(200) % (10**40 + 7), pow(3, 10**30, 10**20 + 39), (2**521 - 1).bit_length(), math.isqrt(10**60))
decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), decimal.Decimal(1) / 7, decimal.Decimal('0.1').exp())
print(fractions.Fraction(355, 113) - fractions.Fraction(22, 7), 0.1 + 0.2, 1e308 * 10, float.hex(math.pi), round(2.675, 2))
print([repr(f(0.7)) for f in (math.sin, math.cos, math.tan, math.exp, math.log, math.atan, math.sinh, math.erf, math.gamma, math.lgamma)])
random.seed(20051024)
numbers = [random.random() for _ in range(5000)]
print(math.fsum(numbers), statistics.stdev(numbers), random.gauss(0, 1), random.getrandbits(100), sorted(numbers)[2500])
data = struct.pack('<5000d', *numbers)
for name in ('md5', 'sha1', 'sha256', 'sha512', 'sha3_256', 'blake2b', 'blake2s'):
    print(name, hashlib.new(name, data).hexdigest())
for module in (zlib, bz2, lzma):
    packed = module.compress(data[:20000] * 3)
    print(module.__name__, len(packed), module.decompress(packed) == data[:20000] * 3)
print(zlib.crc32(data), zlib.adler32(data), base64.b85encode(data[:32]), array.array('i', range(10)).tobytes().hex())
words = re.findall(r'[a-z]+(?=[^a-z])', 'the quick, brown fox; jumps over! the lazy dog. ' * 50)
print(collections.Counter(words).most_common(3), re.sub(r'(\w+) (\w+)', r'\2 \1', 'hello world one two'))
print(json.dumps(json.loads('{"a": [1, 2.5, null, true], "b": {"c": "\\u00e9\\n"}}'), sort_keys=True))
store = sqlite3.connect(':memory:')
store.execute('create table item (id integer primary key, name text, weight real)')
store.executemany('insert into item (name, weight) values (?, ?)', [(f'item {i % 17}', i * 0.37) for i in range(2000)])
print(store.execute('select name, count(*), round(sum(weight), 6), avg(weight) from item group by name order by 3 desc limit 3').fetchall())
print(store.execute("with recursive f(a, b) as (select 0, 1 union all select b, a + b from f where b < 1e9) select max(a) from f").fetchone())
library = ctypes.CDLL('libc.so.6')
library.strtod.restype = ctypes.c_double
print(library.strtod(b'2.5e-3', None), library.abs(-5), ctypes.sizeof(ctypes.c_longdouble), ctypes.string_at(b'abc', 2))
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
values = (ctypes.c_int * 8)(5, 3, 9, -1, 7, 0, 2, 8)
library.qsort(values, 8, 4, compare)
print(list(values))
results: 'queue.Queue[int]' = queue.Queue()
lock, total = threading.Lock(), [0]
def work(n):
    for i in range(2000):
        with lock: total[0] += i % n
    results.put(n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(2, 8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(total[0], sorted(results.queue))
def square(n): return n * n
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(3) as pool: print(pool.map(square, range(10)))
    print(subprocess.run(['bash', '-c', 'read x; echo "got $x"; exit 4'], input='text\n', capture_output=True, text=True))
    left, right = socket.socketpair()
    left.sendall(b'ping'); print(right.recv(10)); left.close(); right.close()
    async def main():
        order = []
        async def step(name, delay):
            await asyncio.sleep(delay); order.append(name)
        await asyncio.gather(step('c', .06), step('a', .01), step('b', .03))
        return order
    print(asyncio.run(main()))
    signal.signal(signal.SIGALRM, lambda *_: print('alarm')); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()
    print(datetime.datetime(2005, 10, 24, tzinfo=datetime.timezone.utc).timestamp(), datetime.date(2005, 10, 24).isocalendar()[:])
    print(list(itertools.islice(heapq.merge([1, 4, 7], [2, 5], [3]), 5)), functools.reduce(lambda a, b: (a * 31 + b) % 2**61, range(5000)))
    try: [][1]
    except IndexError as error: print(type(error).__name__, error)
    print(len('x' * 10_000_000), sys.getrecursionlimit(), bytes(range(256)).translate(bytes(reversed(range(256))))[:4])
