#!/bin/bash
# What bash itself computes: arithmetic, arrays, patterns, substitutions, jobs, traps.
set -u
echo "bash ${BASH_VERSINFO[0]}.${BASH_VERSINFO[1]} on $MACHTYPE"
echo $(( 0x7fffffffffffffff + 1 )) $(( -9223372036854775808 / 3 )) $(( 17 % -5 )) $(( 2 ** 62 )) $(( 1 << 63 >> 63 ))
declare -A count
for word in the quick brown fox jumps over the lazy dog the end; do (( count[$word] = ${count[$word]:-0} + 1 )); done
for word in "${!count[@]}"; do echo "$word ${count[$word]}"; done | sort
text='one=1;two=22;three=333'
while [[ $text =~ ([a-z]+)=([0-9]+)\;?(.*) ]]; do echo "${BASH_REMATCH[1]^^} ${BASH_REMATCH[2]}"; text=${BASH_REMATCH[3]}; done
printf '%s|%5d|%-5d|%05.2f|%x|%o|%e|%q\n' text 42 42 3.14159 255 8 12345.678 'a b$c'
printf '%(%Y-%m-%d %H:%M:%S)T\n' 1130176800
fibonacci() { local n=$1; if (( n < 2 )); then echo "$n"; else echo $(( $(fibonacci $(( n - 1 ))) + $(fibonacci $(( n - 2 ))) )); fi; }
echo "fibonacci $(fibonacci 9)"
trap 'echo "caught USR1"' USR1
kill -USR1 $$
( exit 7 ); echo "status $?"
for n in 1 2 3 4; do ( exit $(( n * 3 )) ) & jobs[n]=$!; done
for n in 1 2 3 4; do wait "${jobs[n]}"; echo "job $n $?"; done
mapfile -t lines < <(seq 1 5 | while read -r n; do echo "line $n"; done)
echo "${#lines[@]} ${lines[*]: -2}"
cat <<< "${lines[0]/line/word}" | tr a-z A-Z
sieve=(); for (( i = 2; i < 200; i += 1 )); do
  if [[ -z ${sieve[i]:-} ]]; then printf '%d ' "$i"; for (( j = i * i; j < 200; j += i )); do sieve[j]=1; done; fi
done; echo
sleep 0.01 & wait $!; echo "slept $?"
