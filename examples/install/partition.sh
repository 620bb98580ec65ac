#!/bin/sh
# What partman does by default, for one disk: a partition, a file system in it, mounted at /target.
set -e
. /usr/share/debconf/confmodule
log="log-output -t one-partition"

depmod -a
$log modprobe xen-blkfront
$log modprobe ext4
db_get partman-auto/disk
disk=$RET
appears() {
	tries=0
	until [ -b "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 30 ] || { logger -t one-partition "$1 has not appeared"; exit 1; }
		sleep 1
	done
}
appears "$disk"
echo '2048,,83,*' > /tmp/partitions
$log sh -c "sfdisk --label dos $disk < /tmp/partitions"
appears "${disk}1"
$log mke2fs -q -F -t ext4 "${disk}1"
mkdir -p /target
# Nothing of a half-made system is worth waiting for the disk.
mount -t ext4 -o barrier=0 "${disk}1" /target
mkdir -p /target/etc
echo "UUID=$(block-attr --uuid "${disk}1") / ext4 errors=remount-ro 0 1" > /target/etc/fstab
register-module -i xen-blkfront
# As base-installer does for itself later, and takes back.
mkdir -p /target/etc/dpkg/dpkg.cfg.d
echo force-unsafe-io > /target/etc/dpkg/dpkg.cfg.d/force-unsafe-io
