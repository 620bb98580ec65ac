#!/usr/bin/perl
# Perl with floating point, long strings, regular expressions, processes, signals and sockets.
use strict; use warnings; use POSIX (); use Socket; use IO::Handle; use List::Util qw(sum reduce); use Scalar::Util qw(blessed);
$| = 1; $SIG{ALRM} = sub { print "alarm\n" };
print "perl $^V\n";
my $seed = 42; sub random { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed }
my @values = map { random() / 2147483648 } 1 .. 2000;
printf "%.17g %.17g %.17g\n", sum(@values), (sort { $a <=> $b } @values)[1000], reduce { $a * (1 + $b / 1000) } 1, @values;
printf "%.17g %.17g %.17g %.17g %.17g\n", sin(1e6), cos(3), exp(2.5), log(10), atan2(1, 2);
printf "%.17g %.17g %d %s\n", sqrt(2), 10 ** -7.5, 1e15 / 7, 9007199254740993 + 0;
printf "%s %s %s %s\n", 9**9**9, -9**9**9, (9**9**9) - (9**9**9), 0.1 + 0.2;
print join(' ', map { POSIX::fmod(1e17, $_) } 3, 7, 11), ' ', POSIX::strtol('7fffffffffffffff', 16), "\n";
{ use integer; my $hash = 5381; $hash = ($hash << 5) + $hash + ord for split //, 'the quick brown fox' x 50; print "$hash\n" }
my $text = join ' ', map { 'word' . random() % 97 } 1 .. 3000; my %count; $count{$1}++ while $text =~ /\b(word\d*[13579])\b/g;
print join(',', map { "$_=$count{$_}" } (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9]), "\n";
(my $other = $text) =~ s/(\d+)/sprintf '%x', $1 * 1000003/ge; print length $other, ' ', unpack('%32C*', $other), "\n";
print join(' ', unpack 'H*', pack 'q>d<NnvVw', -2, 1.5, 1, 2, 3, 4, 300), "\n";
print scalar reverse('stressed'), ' ', ucfirst lc 'HELLO', ' ', join('|', 'a1b22c333' =~ /([a-z])(\d+)/g), "\n";
my @children; for my $n (1 .. 5) {
  pipe my $reader, my $writer; my $child = fork // die;
  if (!$child) { close $reader; my $sum = 0; $sum += $_ ** 2 for 1 .. $n * 1000; print $writer "$sum\n"; close $writer; POSIX::_exit($n) }
  close $writer; push @children, [$child, $reader]
}
for (@children) { my $line = readline $_->[1]; waitpid $_->[0], 0; chomp $line; print "child $line ", $? >> 8, "\n" }
socketpair my $left, my $right, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die; $_->autoflush(1) for $left, $right;
if (!fork) { close $left; while (my $line = <$right>) { print $right scalar reverse($line =~ s/\n//r), "\n" } POSIX::_exit(0) }
close $right; for my $word (qw(drawer live stop)) { print $left "$word\n"; print scalar <$left> } close $left; wait;
POSIX::_exit(3) if !defined eval { local $SIG{ALRM} = sub { die "late\n" }; alarm 1; select undef, undef, undef, 5; alarm 0; 1 } && $@ ne "late\n"; print "woken: $@";
my $segfault = fork; if (!$segfault) { kill 'SEGV', $$; sleep 5 } waitpid $segfault, 0; print 'signal ', $? & 127, "\n";
my $object = bless { n => 3 }, 'Thing'; sub Thing::twice { $_[0]{n} * 2 } print blessed($object), ' ', $object->twice, "\n";
print join(' ', POSIX::strftime('%Y-%m-%d %H:%M:%S %j', gmtime 1130176800)), ' ', POSIX::mktime(0, 0, 0, 1, 0, 100), "\n";
my $big = 'x' x 5_000_000; substr $big, 2_500_000, 1, 'y'; print length $big, ' ', index($big, 'y'), "\n";
