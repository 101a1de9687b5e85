#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# qmrctl: what check finds of an installed and of a running system, and the disk keys that install looks for.
# Usage: tests/cli/qmrctl-check.sh -B BUILD
. "$(dirname "$0")/qmrctl-system.sh"

# An installed system, with two entries of systemd-boot.
printf '[loader]\ntries = 3\n' >"$root/etc/qmr/conf.d/10-tries.conf"
printf '[policy]\nmode = collect\n' >"$root/etc/qmr/qmr.conf"
mkdir -p "$root/efi/loader/entries"
echo v >"$root/efi/vmlinuz"
printf 'title Old\nlinux /vmlinuz\noptions a  b\n' >"$root/efi/loader/entries/old-1+0-3.conf"
printf 'title New\nlinux /vmlinuz\n' >"$root/efi/loader/entries/old-2.conf"
install_built >/dev/null

# What check finds, each alone.
cp -a "$root/$image" "$work/image"
cp "$root/$image" "$root/$image.qmr-new"
finds "what a power cut left" "image: failed: a power cut left '/efi/EFI/Linux/qmr-recovery.efi.qmr-new'"
ok "install removes it, though the image is up to date" \
	"$(install_built) $(said 'is already up to date, kernel') $(ls "$root/efi/EFI/Linux")" "0 1 qmr-recovery.efi"
rm "$root/$image"
finds "a missing image" "image: failed: opening the recovery image '/efi/EFI/Linux/qmr-recovery.efi': No such file"
echo x >"$root/$image"
finds "a damaged image" "image: failed: the recovery image '/efi/EFI/Linux/qmr-recovery.efi' is damaged"
cp "$work/image" "$root/$image"
printf x >>"$root/$image"
rm "$root/usr/lib/modules/$release/"* 2>/dev/null; mv "$root/usr/lib/modules/$release" "$root/tmp/modules"
cp "$work/image" "$root/$image"
ok "check of an image whose kernel is gone: a warning" \
	"$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said "image: warning: its kernel $release is not installed any more")" "1 1"
mv "$root/tmp/modules" "$root/usr/lib/modules/$release"
printf x >>"$root/$image"
finds "another image" "image: failed: the recovery image is not what would be built now"
cp "$work/image" "$root/$image"
# Of the second image nothing is a failure.
cp "$root/$second" "$root/$second.qmr-new"
warns "what a power cut left of the second image" "second-image: warning: a power cut left '/efi/EFI/qmr/qmr-recovery-2.efi.qmr-new'"
ok "install removes it" "$(install_built) $(ls "$root/efi/EFI/qmr" | xargs)" "0 qmr-recovery-2.efi state-a state-b"
printf x >>"$root/$second"
warns "another second image" "second-image: warning: the second recovery image is not what would be built now"
echo x >"$root/$second"
warns "a damaged second image" "second-image: warning: the second recovery image '/efi/EFI/qmr/qmr-recovery-2.efi' is damaged"
rm "$root/$second"
warns "a missing second image" "second-image: warning: opening the second recovery image '/efi/EFI/qmr/qmr-recovery-2.efi': No such file"
ok "install brings it back, and leaves the first alone" \
	"$(install_built) $(cmp "$root/$image" "$root/$second" && echo same) $(said 'image: /efi/EFI/Linux/qmr-recovery.efi is already up to date')" "0 same 1"
printf x >>"$root/$image"
ok "a damaged first one: the second is known to be as built" \
	"$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said 'image: failed: ') $(said 'second-image: ok: as it would be built now')" "1 1 1"
cp "$work/image" "$root/$image"
sed -i s/^root_uuid=5/root_uuid=6/ "$root/etc/qmr/machine.conf"
ok "check finds a machine.conf of another root, also as such in the initramfs" \
	"$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said 'does not name root 5c8b2b4e') $(said "does not hold the present '/etc/qmr/machine.conf'")" "1 1 1"
rm "$root/etc/qmr/machine.conf"
ok "check finds a missing machine.conf" \
	"$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said "machine.conf: failed: '/etc/qmr/machine.conf' is missing")" "1 1"
ok "install writes it again" "$(install_built) $(said "machine.conf: '/etc/qmr/machine.conf' written") $(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check)" "0 1 0"
ok "a UUID that would be more than a word in it is refused" \
	"$(install_built --root-uuid $'1\nmode = off') $(said "root_uuid '1?mode = off' is not one plain word")" "2 1"
rm "$root/etc/units/qmr-shutdown.service"
finds "a disabled unit" "units: failed: unit 'qmr-shutdown.service' is not enabled"
touch "$root/etc/units/qmr-shutdown.service"
cp "$root/usr/lib/qmr/boot-guard" "$work/boot-guard"
printf x >>"$root/usr/lib/qmr/boot-guard"
finds "an initramfs with another boot-guard" "it does not hold the present '/usr/lib/qmr/boot-guard'"
cp "$work/boot-guard" "$root/usr/lib/qmr/boot-guard"
sed -i /sort-key/d "$root/efi/loader/entries/old-2.conf"
finds "an entry without sort-key" "loader: failed: 1 of systemd-boot's entries have no sort-key"
ok "install mends it" "$(install_built)" 0
echo old >"$root/efi/initrd"
printf 'initrd \\initrd\n' >>"$root/efi/loader/entries/old-2.conf"
finds "a copy of the initramfs that was not renewed" "loader: failed: '/efi/initrd', which systemd-boot's entry 'old-2.conf' starts, is no copy"
ok "install says so" "$(install_built) $(said 'boot-guard may be missing or old there; renew it')" "0 1"
cp "$root/boot/initrd.img-$release" "$root/efi/initrd"
ok "a fresh copy is fine" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check)" 0
sed -i /initrd/d "$root/efi/loader/entries/old-2.conf"

mode ask >/dev/null
echo "root=PARTUUID=0f0e0d0c-0b0a-0908-0706-050403020100 ro" >"$root/tmp/cmdline"
mount --bind "$root/tmp/cmdline" "$root/proc/cmdline"

# What only a running system can tell. Its /sys is a folder here, so that nothing of this host decides.
finding() { # $1: check
	ctl check >/dev/null
	grep "^$1: " "$root/tmp/out"
}
has() { grep -c -F -- "$1"; }
ok "no watchdog" "$(finding watchdog | has 'watchdog: warning: no hardware watchdog')" 1
mkdir -p "$root/sys/class/watchdog/watchdog0"
echo iTCO_wdt >"$root/sys/class/watchdog/watchdog0/identity"
ok "a watchdog" "$(finding watchdog)" "watchdog: ok: watchdog0: iTCO_wdt"
mkdir -p "$root/run/qmr"
rm -f "$root/run/qmr/attempt"
ok "a boot that was not counted" "$(finding variables | has 'variables: unknown: this boot was not counted')" 1
echo full >"$root/run/qmr/deferred"
ok "a boot state that could not be written" "$(finding variables | has 'variables: failed: the boot state could not be written')" 1
echo 3 >"$root/run/qmr/attempt"
ok "one that could" "$(finding variables | has 'variables: ok: the boot state was written at this start')" 1
rm "$root/run/qmr/deferred"

# Network: a list of what is in the image, adapters in /sys.
printf '/usr/lib/modules/x/kernel/a/e1000e.ko.xz\n/usr/lib/modules/x/kernel/virtio-net.ko\n' >"$root/tmp/list"
ok "no server: no network is needed" "$(finding network)" "network: ok: no server is configured, and none is needed"
printf '[repository]\nurl = https://x\n[upload]\nurl = https://x\n' >>"$root/etc/qmr/qmr.conf"
net=$root/sys/class/net
adapter() { # $1: name, $2: driver, $3: carrier
	mkdir -p "$net/$1/device/driver"
	echo 1 >"$net/$1/type"
	echo "$3" >"$net/$1/carrier"
	[ -z "$2" ] || ln -sfn "../../../module/$2" "$net/$1/device/driver/module"
}
ok "no adapter" "$(finding network | has 'network: warning: no network adapter')" 1
mkdir -p "$net/lo"; echo 772 >"$net/lo/type"
adapter wlan0 iwlwifi 1; mkdir "$net/wlan0/phy80211"
ok "wireless only" "$(finding network | has 'network: warning: there are wireless adapters only')" 1
adapter eth0 e1000e 0
ok "no cable" "$(finding network | has 'network: warning: no wired adapter has a link')" 1
adapter eth0 e1000e 1
ok "a driver that is in the image" "$(finding network)" "network: ok: the recovery image has the driver of eth0"
adapter eth0 virtio_net 1
ok "- and _ are one" "$(finding network)" "network: ok: the recovery image has the driver of eth0"
adapter eth0 vendor_nic 1
ok "a driver that is not" "$(finding network)" "network: failed: the recovery image has no driver for a wired adapter with a link: vendor_nic"
adapter eth1 "" 1
ok "but another one is built in" "$(finding network | has 'network: warning: the recovery image has no driver')" 1
rm -r "$net"

# Trust.
certificate() { # $1: file, $2: days
	openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=x -days "$2" -out "$root/etc/qmr/trust/$1" 2>/dev/null
}
root_json() { printf '{"signed": {"_type": "root", "expires": "%s"}, "signatures": []}' "$1" >"$root/etc/qmr/trust/root.json"; }
ok "no certificate where one is needed" "$(finding trust | has "trust: failed: '/usr/lib/qmr/diag-upload' check ended with exit code 4")" 1
certificate upload-cert.pem 100
certificate ca.pem 100
root_json 2100-01-01T00:00:00Z
ok "nothing ends soon" "$(finding trust)" "trust: ok: nothing ends within 30 days"
root_json 2001-01-01T00:00:00Z
ok "a root that has expired is a warning: the repository may have a newer one" \
	"$(finding trust | has "trust: warning: the root of the repository's metadata '/etc/qmr/trust/root.json' ended on 2001-01-01")" 1
root_json never
ok "a root that says nothing" "$(finding trust | has "trust: failed: '/etc/qmr/trust/root.json' does not say when it expires")" 1
root_json 2100-01-01T00:00:00Z
certificate upload-cert.pem 5
ok "an upload certificate that ends soon" "$(finding trust | has "trust: warning: the upload certificate '/etc/qmr/trust/upload-cert.pem' ends on 20")" 1
certificate ca.pem 5
ok "a CA that ends soon" "$(finding trust | has 'trust: warning: ')" 1
printf '%s\n' "-----BEGIN CERTIFICATE-----" x "-----END CERTIFICATE-----" >"$root/etc/qmr/trust/ca.pem"
ok "a CA that is none" "$(finding trust | has 'trust: failed: ')" 1
rm "$root"/etc/qmr/trust/*
sed -i '/https:/d; /repository/d; /upload/d' "$root/etc/qmr/qmr.conf"

# Modules that are not the kernel's own.
running=$root/usr/lib/modules/$(uname -r)
mkdir -p "$running" "$root/sys/module"
printf 'kernel/a/own.ko.xz:\nextra/vendor-x.ko: kernel/a/own.ko.xz\nupdates/unused.ko:\nkernel/a/patched.ko:\n' >"$running/modules.dep"
load() { mkdir -p "$root/sys/module/$1"; echo live >"$root/sys/module/$1/initstate"; echo "$2" >"$root/sys/module/$1/taint"; }
load own ""
mkdir "$root/sys/module/builtin"
ok "none" "$(finding modules)" "modules: ok: all loaded kernel modules are the kernel's own"
load vendor_x ""
load patched OE
load stranger O
ok "by folder and by taint; no restore point" \
	"$(finding modules)" "modules: warning: loaded kernel modules that are not the kernel's own: stranger, vendor_x, patched; there is no restore point yet; a healthy boot takes the first one"
point=$root/var/lib/qmr/restore-points/7
mkdir -p "$point/files"
python3 - "$point/manifest.json" "$(uname -r)" <<'EOT'
import json, sys
files = [{"path": "/usr/lib/modules/%s/%s" % (sys.argv[2], name), "type": "file", "mode": 420, "uid": 0, "gid": 0, "size": 1, "mtime_ns": 0,
          "sha256": "0" * 64} for name in ("extra/vendor-x.ko", "kernel/a/patched.ko")]
json.dump({"schema": 1, "id": 7, "taken_unix_s": 1790000000, "kernel": sys.argv[2], "files": files}, open(sys.argv[1], "w"))
EOT
ok "one that no restore point holds" "$(finding modules | has 'in no restore point (the newest is 7): stranger; add their folder')" 1
rm -r "$root/sys/module/stranger"
ok "all covered" "$(finding modules)" "modules: ok: loaded kernel modules that are not the kernel's own, all in restore point 7: vendor_x, patched"
ctl --json check >/dev/null
ok "check --json" "$(python3 - "$root/tmp/out" <<'EOT'
import json, sys
text = open(sys.argv[1]).read()
c = json.loads(text[text.index("{"):])
assert c["schema"] == 1 and c["ready"] is False, c
names = [x["name"] for x in c["checks"]]
assert len(names) == 22 and len(set(names)) == 22, names
assert all(set(x) == {"name", "result", "text", "advice"} and x["result"] in ("ok", "warning", "failed", "unknown") for x in c["checks"]), c
by = {x["name"]: x for x in c["checks"]}
assert by["machine"]["result"] == "failed" and by["image"]["result"] == "unknown" and by["watchdog"]["result"] == "ok", c
print("yes")
EOT
)" yes
rm -r "${point%/*}" "$root/sys" "$running" "$root/run/qmr"

# A running system is asked for its mounts.
on_root() { ctl check >/dev/null; grep '^paths: failed' "$root/tmp/out"; }
ok "nothing is mounted in the way" "$(on_root)" ""
mount --bind "$root/var" "$root/var"
ok "a folder mounted onto itself is where it was" "$(on_root)" ""
mkdir "$root/other"
mount --bind "$root/other" "$root/var"
ok "another folder of the same file system is not" "$(on_root | grep -c "'/var/lib/qmr' lies on the file system mounted at '/var' (tmpfs")" 1
umount "$root/var"
umount "$root/var"
mount -t tmpfs tmpfs "$root/other"
mkdir "$root/other/opt"
ln -s /other/opt "$root/opt"
ok "a link to another file system is not either" "$(on_root | grep -c "[[]watch[]] path: '/opt' (at '/other', tmpfs)")" 1
rm "$root/opt"
umount "$root/other"

# Disk keys in a TPM. The disk is a file in the place of a block device.
mkdir -p "$root/sys/class/block/vdz" "$root/sys/class/block/gone"
disk() { # $1: tokens in JSON
	printf 'LUKS\xba\xbe\0\2\0\0\0\0\0\0\x40\0' >"$root/dev/vdz"
	head -c 4080 /dev/zero >>"$root/dev/vdz"
	printf '{"keyslots":{},"tokens":{%s}}\0' "$1" >>"$root/dev/vdz"
	truncate -s 64K "$root/dev/vdz"
}
sealed() { printf '"0":{"type":"systemd-tpm2","keyslots":["1"],"tpm2-pcrs":[%s]}' "$1"; }
disk "$(sealed 7)"
ok "a key bound to PCR 7 is not affected" "$(ctl install) $(said 'keys: no disk key in a TPM is bound to what changes here (1 to other PCRs)')" "1 1"
disk "$(sealed 7,9)"
before=$(snapshot)
ok "install: a key bound to PCR 9 is refused, what to do is said" \
	"$(ctl install) $(said "/dev/vdz (PCR 7 9); at the next boot they need a passphrase") $(said systemd-cryptenroll) $(said 'not begun: the 12 after it')" "1 1 1 1"
ok "nothing was changed" "$(diff <(echo "$before") <(snapshot))" ""
ok "with --force it goes on, and says so" "$(ctl --force install) $(said 'keys: at the next boot the TPM will not release what it keeps for /dev/vdz (PCR 7 9)') $(said "step 'machine'")" "1 1 1"
ok "check warns of it, and names the registers" "$(finding keys | has '/dev/vdz (PCR 7 9); a new initramfs')" 1
ok "register does not touch PCR 9" "$(ctl register) $(said 'keys: no disk key') $(said "step 'machine'")" "1 1 1"
disk "$(sealed 1)"
ok "register: a key bound to PCR 1 is refused" "$(ctl register) $(said '/dev/vdz (PCR 1);')" "1 1"
disk "$(sealed 12)"
ok "a key bound to PCR 12 is refused, as panic= will be added" "$(ctl install) $(said '/dev/vdz (PCR 12);')" "1 1"
printf '[policy]\nmode = observe\n' >"$root/etc/qmr/conf.d/95-site.conf"
ok "but not in a mode that adds none" "$(ctl install) $(said 'keys: no disk key')" "1 1"
rm "$root/etc/qmr/conf.d/95-site.conf"
ok "for a machine that is being built the disks here do not matter" "$(install_built) $(said 'keys: the disks here are not those of the machine')" "0 1"
disk '"0":'
ok "a damaged header is no reason to go on" "$(ctl install) $(said '/dev/vdz (to what is not known);') $(said "header of '/dev/vdz' is damaged")" "1 1 1"
mv "$root/dev/vdz" "$root/etc/header"
printf '# header=/etc/header\nroot /dev/vda3 - tpm2-device=auto,header=/etc/header\n' >"$root/etc/crypttab"
disk "$(sealed 4)"
mv "$root/dev/vdz" "$root/etc/header"
ok "a header in a file, as crypttab says" "$(ctl install) $(said '/etc/header (PCR 4);')" "1 1"
printf 'root /dev/vda3 /etc/key.sealed luks,tpm2-device=auto\n' >"$root/etc/crypttab"
ok "a key sealed in a file" "$(ctl install) $(said '/etc/key.sealed (to what is not known);')" "1 1"
printf 'root /dev/vda3 - luks,tpm2-device=auto\n' >"$root/etc/crypttab"
ok "a line of crypttab alone says nothing" "$(ctl install) $(said 'keys: no disk key')" "1 1"
rm -r "$root/etc/crypttab" "$root/etc/header" "$root/sys"
exit $status
