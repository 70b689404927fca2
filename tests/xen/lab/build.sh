#!/usr/bin/env bash
# build.sh FOLDER: makes in FOLDER what the lab boots: xen and vmlinux (ELF files), initrd.cpio, dom0.squashfs.
#
# Packages are downloaded with apt and unpacked with dpkg-deb, as whoever calls this: nothing is installed, no
# package's script runs. Takes about half a minute plus the download (110 MB, kept in FOLDER/debs).
# Happy path: the four files are there. Any failure: exit 1, what failed is said.
set -euo pipefail

lab=$(cd "$(dirname "$0")" && pwd)
out=$1
root=$out/root

die() {
    printf 'xenlab: %s\n  why: %s\n  do:  %s\n' "$1" "$2" "$3" >&2
    exit 1
}

# Resolves against an empty machine, so that the whole closure comes; the system's lists are only read.
apt_download() { # [apt options]
    xargs apt-get install --download-only --no-install-recommends -qq -y -o Dir::State::status=/dev/null \
        -o Dir::Cache::archives="$out/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o Debug::NoLocking=1 -o APT::Sandbox::User= "$@" < <(sed 's/#.*//' "$lab/dom0-packages.txt")
}

fetch() {
    cmp -s "$lab/dom0-packages.txt" "$out/debs/complete" && return
    rm -rf "$out/debs" && mkdir -p "$out/debs/partial"
    download
    cp "$lab/dom0-packages.txt" "$out/debs/complete"
}

download() {
    apt_download >"$out/apt.log" 2>&1 && return
    # The system's lists are missing or too old: lists of our own.
    local private=(-o Dir::State::Lists="$out/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o Debug::NoLocking=1 -o APT::Sandbox::User=)
    mkdir -p "$out/lists/partial"
    { apt-get update "${private[@]}" && apt_download -o Dir::State::Lists="$out/lists"; } >"$out/apt.log" 2>&1 || {
        tail -n 20 "$out/apt.log" >&2
        die "cannot download dom0's packages" "the lines above are the end of $out/apt.log" \
            "see that apt-get update works on this machine, then try again"
    }
}

unpack() {
    local deb folder
    rm -rf "$root" && mkdir -p "$root"
    for folder in bin sbin lib lib64; do
        mkdir -p "$root/usr/$folder"
        ln -s "usr/$folder" "$root/$folder"
    done
    for deb in "$out"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$root" --no-same-owner --keep-directory-symlink --exclude='./usr/share/doc/*' \
                --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*'
    done
}

# vmlinux is taken out of the bzImage here: Xen would unpack it under emulation.
kernels() {
    zcat "$root"/boot/xen-4.17-amd64.gz >"$out/xen"
    python3 "$lab/vmlinux.py" "$root"/boot/vmlinuz-* "$out/vmlinux"
}

initrd() {
    local tree=$out/initrd module path order=()
    rm -rf "$tree" && mkdir -p "$tree"/{bin,dev,lower,modules,proc,root,upper}
    cp "$root/bin/busybox" "$tree/bin/"
    for module in sh mount umount insmod mkdir poweroff switch_root; do ln -s busybox "$tree/bin/$module"; done
    # in the order in which they depend on each other
    for module in xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs virtio_ring virtio virtio_pci_legacy_dev \
        virtio_pci_modern_dev virtio_pci virtio_blk virtio_console squashfs overlay; do
        path=$(find "$root/lib/modules/" -name "$module.ko")
        [ -n "$path" ] || die "dom0's kernel has no module $module" "Debian's kernel package has changed" \
            "correct the list in tests/xen/lab/build.sh"
        cp "$path" "$tree/modules/"
        order+=("$module.ko")
    done
    printf '%s\n' "${order[@]}" >"$tree/modules/order"
    install -m 755 "$lab/initrd-init" "$tree/init"
    (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) >"$out/initrd.cpio"
}

dom0() {
    local applet
    rm -rf "${root:?}"/{boot,usr/lib/{modules,debug,systemd,udev,firmware,xen-4.17/boot},usr/share/{zoneinfo,i18n}}
    mkdir -p "$root"/{dev,etc/xen,lab/busybox,proc,root,run,sys,tmp,results,job,roomkey} \
        "$root"/var/{lib/xen,lib/xenstored,log/xen/console,tmp}
    rm -rf "$root"/var/{run,lock} && ln -s /run "$root/var/run" && ln -s /run/lock "$root/var/lock"
    chmod 1777 "$root/tmp" "$root/var/tmp"
    printf '%s\n' root:x:0:0:root:/root:/bin/bash nobody:x:65534:65534:nobody:/:/bin/false >"$root/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: tty:x:5: >"$root/etc/group"
    printf '%s\n' '127.0.0.1 localhost dom0' '::1 localhost' >"$root/etc/hosts"
    printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >"$root/etc/nsswitch.conf"
    ln -s bash "$root/usr/bin/sh"
    : >>"$root/etc/xen/xl.conf"
    # what no package of the list has (awk, less, vi, …)
    for applet in $("$root/bin/busybox" --list); do ln -s /bin/busybox "$root/lab/busybox/$applet"; done
    install -m 755 "$lab/dom0-init" "$lab/dom0-run" "$root/lab/"
    install -m 644 "$lab/shellrc" "$root/lab/shellrc"
    /usr/bin/python3 -m compileall -qq --invalidation-mode unchecked-hash -s "$root" -p / "$root"/usr/lib/python3* || true
    rm -f "$out/dom0.squashfs"
    # Not compressed: unpacking under emulation costs more than reading.
    mksquashfs "$root" "$out/dom0.squashfs" -all-root -noI -noD -noF -noX -no-progress -quiet
}

mkdir -p "$out"
fetch
unpack
kernels
initrd
dom0
rm -rf "$root" "$out/initrd"
