#!/bin/sh
# What user-setup, grub-installer and finish-install do at the end: an account, the boot loader's file, the installer's own last scripts.
set -e
. /usr/share/debconf/confmodule
log="log-output -t last-steps"

db_get passwd/username
user=$RET
db_get passwd/user-fullname
name=$RET
db_get passwd/user-password
password=$RET
$log chroot /target useradd --create-home --shell /bin/bash --comment "$name" "$user"
echo "$user:$password" > /tmp/password
$log sh -c 'chroot /target chpasswd < /tmp/password'
rm /tmp/password

# A Xen host's boot loader reads grub.cfg from outside, so that nothing needs to be in the boot sector.
apt-install grub2-common
cat > /target/etc/default/grub <<EOF
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="$(user-params | tr '\n' ' ' | sed 's/ *$//')"
EOF
mkdir -p /target/boot/grub
in-target update-grub

$log chroot /target apt-get clean
rm -f /target/etc/apt/apt.conf.d/00AllowInsecure
for script in /usr/lib/finish-install.d/*; do
	$log "$script" || logger -t last-steps "warning: $script returned error code $?"
done
logger -t last-steps 'the system is installed'
cp /var/log/syslog /target/var/log/installer/syslog
sync
for place in /target/proc /target/sys /target/dev /dev/.static/dev; do
	umount "$place" 2>/dev/null || true
done
umount /target || mount -o remount,ro /target
exec /lib/debian-installer/exit
