#!/bin/bash
# Programs of coreutils over files that they make themselves: checksums, sorting, long integers, long doubles, dates.
set -u -o pipefail
work=/tmp/work; mkdir "$work"; cd "$work"
seq 1 20000 > numbers
yes 'the quick brown fox' | head -n 3000 | nl > text
for sum in md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum sum; do $sum numbers text; done
base64 text | md5sum; base32 numbers | md5sum; basenc --z85 -w 0 < <(head -c 4000 text) | md5sum
shuf --random-source=text numbers | tee shuffled | sha256sum
sort -n shuffled | cmp - numbers && echo 'sorted numerically'
sort shuffled | sha256sum; sort -rn -k2,2 -s text | sha256sum; sort --parallel=2 -S 1M -R --random-source=text numbers | sha256sum
split -l 700 -d numbers part.; cat part.* | cmp - numbers && ls part.* | wc -l
paste -d: numbers shuffled | cut -d: -f2 | tac | md5sum
join <(sort numbers) <(sort shuffled) | wc; comm -12 <(sort numbers) <(head -n 100 shuffled | sort) | wc -l
tr -cd '0-9\n' < text | uniq -c | sha256sum; fold -w 13 text | expand | unexpand -a | fmt -w 40 | pr -l 30 -h x -D y | sha256sum
od -A x -t x8z -N 256 text; od -t fD -N 64 numbers; od -t u2 -j 100 -N 64 numbers
factor 2305843009213693951 18446744073709551557 18446744073709551616 36893488147419103233 600851475143
printf '%.30f %a %.20Lg\n' 0.1 3.141592653589793 2.718281828459045235
numfmt --to=iec --format=%.3f 123456789 987654321012345678; numfmt --from=si 12.5M
seq 0 0.1 1 | tr '\n' ' '; seq -f %.15g 1e10 123456789.125 2e10 | tail -n 2
expr 170141183460469231731687303715884105727 \* 3 % 1000000007
for at in 0 1130176800 2147483648 -1 253402300799; do date -u -d "@$at" '+%F %T %a %j %V %s'; done
TZ=EST5EDT,M4.1.0,M10.5.0 date -d '2005-10-30 01:30 EST' '+%F %T %Z'
truncate -s 5M sparse; stat -c '%n %s %F %a' sparse numbers; dd if=numbers of=copy bs=777 conv=noerror,sync 2> said; sed -n 1,2p said; cksum copy
mkdir -p a/b/c; ln -s ../numbers a/link; ln numbers hard; cp -a a d; readlink a/link; realpath d/link; stat -c %h numbers
stat -c '%A %h %N' a/* numbers; du --apparent-size -b numbers; chmod 4750 hard; stat -c %A hard
env -i A=1 B=2 env | sort; nproc --all > /dev/null && echo 'processors counted'; timeout 0.2 sleep 5; echo "timeout $?"
tsort <<< 'a b b c c d a d'; wc -L text; head -c 1000000 /dev/zero | sha512sum; echo abc | tee >(cat > out) > /dev/null; sync; dircolors -p | cksum
cd /; rm -r "$work"; test -d "$work" || echo removed
