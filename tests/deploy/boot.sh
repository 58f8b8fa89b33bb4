#!/usr/bin/env bash
# Boots systemd as the first process of namespaces of its own, with our unit and nothing else, on a file system on which
# the program lies where the unit says. What it writes is gone with it. For root; needs cgroup v2.
# boot.sh CHECKOUT PYTHON SITE_PACKAGES FOLDER; FOLDER has faceattr.toml and gets server.log.
set -euo pipefail
checkout=$1 python=$2 packages=$3 folder=$4 stage=${5:-outside}

if [ "$stage" = outside ]; then  # a control group of its own, so that systemd sees an empty tree
    exec unshare --mount "$0" "$@" grouped
fi
if [ "$stage" = grouped ]; then
    mount -t cgroup2 cgroup2 /mnt
    group=/mnt/faceattr-test-$$
    mkdir "$group"
    end() {
        echo 1 > "$group/cgroup.kill"
        until find "$group" -depth -type d -exec rmdir {} + 2> /dev/null; do sleep 0.02; done
    }
    trap end EXIT
    trap exit TERM
    (
        echo "$BASHPID" > "$group/cgroup.procs"
        exec unshare --pid --fork --mount --mount-proc --uts --ipc --cgroup "$0" "${@:1:4}" booting
    ) &
    wait
    exit
fi

umount /mnt
mount -t tmpfs tmpfs /mnt
mkdir /mnt/{test,etc,work}
mount --bind "$folder" /mnt/test
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work overlay /etc
mount -t tmpfs tmpfs /opt
mkdir -p /opt/faceattr-aio/{bin,checkout,python,packages,models}
mount --bind "$checkout" /opt/faceattr-aio/checkout
mount --bind "$checkout/models" /opt/faceattr-aio/models
mount --bind "$python" /opt/faceattr-aio/python
mount --bind "$packages" /opt/faceattr-aio/packages
cat > /opt/faceattr-aio/bin/faceattr-aio << 'END'
#!/bin/sh
cd /opt/faceattr-aio
export PYTHONHOME=$PWD/python LD_LIBRARY_PATH=$PWD/python/lib PYTHONPATH=$PWD/checkout:$PWD/packages
exec python/bin/python3 -m faceattr_aio "$@"
END
chmod 755 /opt/faceattr-aio/bin/faceattr-aio
for hidden in /run /tmp /lib/systemd/system /lib/systemd/system-generators; do
    mount -t tmpfs tmpfs "$hidden"
done
for target in sysinit basic shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' > "/lib/systemd/system/$target.target"
done
cp "/opt/faceattr-aio/checkout/conf/systemd/faceattr-aio.service" /lib/systemd/system
mkdir -p /etc/faceattr-aio /lib/systemd/system/faceattr-aio.service.d
cp /mnt/test/faceattr.toml /etc/faceattr-aio
printf '[Service]\nStandardOutput=file:/mnt/test/server.log\n' > /lib/systemd/system/faceattr-aio.service.d/log.conf
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
container=test exec /lib/systemd/systemd --system --unit=faceattr-aio.service --log-target=null --show-status=no
