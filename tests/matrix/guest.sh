# shellcheck shell=bash
# Guests of the matrix: what is put into one, how it is booted, and when it counts.
#
# Sourced by scripts/kernel-matrix after kernels.sh.

# -accel tcg: stock kernels hang or die under the nested KVM of some machines that offer /dev/kvm, so it is never tried.
# -smp 1: two emulated CPUs trip over each other's patching of code (README.md).
# -M pc: microvm boots half a second faster when it boots; five of nine guests of ours never said a word there.
QEMU=(qemu-system-x86_64 -accel tcg -M pc -smp 1 -m 512
  -nodefaults -display none -no-reboot -no-user-config)
# -cx16: QEMU 7.2's emulation of cmpxchg16b kills 6.12 guests now and then; the kernel does without it. Not 7.x:
# kmalloc_nolock() gives nothing there, so no socket storage, so no listener for an accepted connection.
guest_cpu() { # SUITE
  case $1 in
    sid) echo qemu64 ;;
    *) echo qemu64,-cx16 ;;
  esac
}
# panic=-1: a dead guest leaves at once (and QEMU's exit status is 0 all the same: only the closing line counts).
KERNEL_ARGS='console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off'

# Programs that some scenes look for. They come along where this machine has them.
GUEST_PROGRAMS='ip ss tc nft'

put_program() { # STAGE FILE TARGET: an executable with the libraries that it names
  local stage=$1 library
  install -D "$2" "$stage$3" || return 1
  # The third word of "libc.so.6 => /lib/… (0x…)", the first of "/lib64/ld-linux… (0x…)".
  while read -r library; do
    [ -e "$stage$library" ] || install -D "$library" "$stage$library" || return 1
  done < <(ldd "$2" 2>/dev/null | sed -nE 's#.*(=> |^\s)(/[^ ]+) \(0x.*#\2#p')
}

stage_payload() { # STAGE [TCPTRAIL LIVE]
  local stage=$1 program path
  mkdir -p "$stage"/{bin,etc,matrix} && install "$(command -v busybox)" "$stage/bin/busybox" &&
    install "$MATRIX_DIR/init" "$stage/init" &&
    put_program "$stage" "$(command -v dash)" /bin/sh || return 1 # busybox's own shell prefers its applets to PATH
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$stage/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$stage/etc/group"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$stage/etc/hosts"
  for program in $GUEST_PROGRAMS; do
    path=$(command -v "$program") || continue
    put_program "$stage" "$path" "/usr/sbin/$program" || return 1
  done
  [ $# -gt 1 ] || return 0
  put_program "$stage" "$2" /matrix/tcptrail && put_program "$stage" "$3" /matrix/tcptrail_live || return 1
  # Debugging sections are dead weight in a guest's memory.
  strip --strip-debug "$stage"/matrix/tcptrail* 2>/dev/null || true
}

# The part of the initramfs that all guests of a run share. Not compressed: a guest unpacks it under emulation.
pack_payload() { # OUT.cpio [TCPTRAIL LIVE]
  local out=$1 stage rc
  shift
  stage=$(mktemp -d) || return 1
  stage_payload "$stage" "$@" && (cd "$stage" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) >"$out"
  rc=$?
  rm -rf "$stage"
  return $rc
}

# The few words that differ from guest to guest: /matrix/plan, which init reads.
pack_plan() { # OUT.cpio NAME=VALUE…
  local out=$1 stage pair
  shift
  stage=$(mktemp -d) || return 1
  mkdir "$stage/matrix"
  for pair; do printf '%s=%q\n' "${pair%%=*}" "${pair#*=}"; done >"$stage/matrix/plan"
  (cd "$stage" && printf '%s\n' matrix matrix/plan | cpio --quiet -o -H newc -R 0:0) >"$out"
  local rc=$?
  rm -rf "$stage"
  return $rc
}

# Boots one guest and waits for its end. DIR receives console (the kernel's words), out (init's words), seconds, and
# how: closed, died, silent or timeout. Returns 0 only if the guest printed its own closing line. Call it in a subshell:
# it takes SIGTERM's trap, so that whoever ends the worker ends the guest.
boot_guest() { # SUITE DIR PAYLOAD PLAN
  local suite=$1 dir=$2 kernel qemu rc begin=$EPOCHREALTIME how
  kernel=$CACHE/$suite/$(<"$CACHE/$suite/current")
  mkdir -p "$dir"
  : >"$dir/console"
  : >"$dir/out"
  cat "$3" "$kernel/modules.cpio" "$4" >"$dir/initrd" || return 1
  timeout -k 5 "$GUEST_TIMEOUT" "${QEMU[@]}" -cpu "$(guest_cpu "$suite")" -kernel "$kernel/vmlinux" -initrd "$dir/initrd" -append "$KERNEL_ARGS" \
    -chardev file,id=console,path="$dir/console" -serial chardev:console \
    -chardev file,id=out,path="$dir/out" -serial chardev:out >"$dir/qemu" 2>&1 </dev/null &
  qemu=$!
  # shellcheck disable=SC2064  # this guest, now
  trap "kill $qemu; exit 143" TERM
  rc=0
  wait "$qemu" || rc=$?
  trap - TERM
  rm -f "$dir/initrd"
  awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f\n", b - a }' >"$dir/seconds"
  if grep -qE '^MATRIX closing [0-9]+' "$dir/out"; then
    how=closed
  elif grep -qE 'Kernel panic|double fault|Oops' "$dir/console"; then
    how=died
  elif [ $rc -eq 124 ] || [ $rc -eq 137 ]; then
    how=timeout
  else
    how=silent
  fi
  echo "$how" >"$dir/how"
  [ $how = closed ]
}
