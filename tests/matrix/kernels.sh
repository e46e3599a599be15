# shellcheck shell=bash
# Debian kernels for the matrix: fetched with apt, kept by package version.
#
# Sourced by scripts/kernel-matrix. Nothing here touches the machine's own apt state: every suite has a private
# source list, private lists and a private archive folder below the cache, and an empty dpkg status file.
# The mirror is the one that the machine's own configuration names, so no host is written in this repository.
#
#   $CACHE/<suite>/current             the version to boot: the name of one of the folders below
#   $CACHE/<suite>/checked             touched when apt was last asked whether there is a newer one
#   $CACHE/<suite>/<version>/vmlinux   the kernel, unpacked (PVH boot: no decompression in a slow guest)
#   $CACHE/<suite>/<version>/release   what uname -r prints in the guest
#   $CACHE/<suite>/<version>/modules.cpio
#   $CACHE/apt/…                       apt's own state

# suite | kernel it ships | its own archive | its security archive ("-": has none) | expectation (see scripts/kernel-matrix)
KERNEL_SUITES='
bullseye|5.10|bullseye|bullseye-security|below-floor
bookworm|6.1|bookworm|bookworm-security|works
trixie|6.12|trixie|trixie-security|works
sid|7.x|sid|-|works
'

# Modules the scenes use. One that a kernel has built in, or does not have, is left out; dependencies come by themselves.
KERNEL_MODULES='inet_diag tcp_diag unix_diag veth dummy sch_netem sch_tbf sch_fq tcp_bbr tls mptcp_diag
  nf_tables nft_ct nft_limit nft_counter nft_reject nft_reject_inet nft_reject_ipv4 nft_numgen nft_masq nft_chain_nat
  iptable_filter ip6table_filter xt_tcpudp xt_conntrack xt_statistic ipt_REJECT'

# The sections of a KERNEL_SUITES row, by name.
suite_field() { # SUITE FIELD(2..5)
  awk -F'|' -v s="$1" -v f="$2" '$1 == s { print $f; found = 1 } END { exit !found }' <<<"$KERNEL_SUITES"
}

all_suites() { awk -F'|' 'NF { print $1 }' <<<"$KERNEL_SUITES"; }

# The machine's mirror as apt itself reads it (one-line and deb822 alike), for "main" or for "security": what it takes
# Debian's own suites from. TCPTRAIL_DEBIAN_MIRROR and TCPTRAIL_DEBIAN_SECURITY_MIRROR override it, e.g. where no Debian runs.
mirror_of() { # main|security
  local uri release main='' security='' other=''
  # shellcheck disable=SC2016  # apt expands these
  local format='$(REPO_URI)|$(RELEASE)'
  while IFS='|' read -r uri release; do
    case $release in
      *-security) [ -n "$security" ] || security=$uri ;;
      bullseye | bookworm | trixie | forky | sid | oldoldstable | oldstable | stable | testing | unstable)
        # Somebody else's archive may use Debian's names too: one whose path says Debian goes first.
        case $uri in
          */debian | */debian/ | */debian/*) [ -n "$main" ] || main=$uri ;;
          *) [ -n "$other" ] || other=$uri ;;
        esac
        ;;
    esac
  done < <(apt-get indextargets --no-release-info --format "$format" 'Created-By: Packages' 'Component: main' 2>/dev/null)
  main=${TCPTRAIL_DEBIAN_MIRROR:-${main:-$other}}
  case $main in # the two archives stand beside each other on a mirror
    */debian/) security=${security:-${main%/debian/}/debian-security/} ;;
    */debian) security=${security:-$main-security} ;;
  esac
  security=${TCPTRAIL_DEBIAN_SECURITY_MIRROR:-$security}
  if [ "$1" = main ]; then echo "$main"; else echo "$security"; fi
}

# apt for one suite, kept apart from the machine's: same proxies and transport settings, nothing else in common.
suite_apt() { # SUITE TOOL ARGS…
  local suite=$1 tool=$2 dir=$CACHE/apt/$1
  shift 2
  "$tool" -c "$dir/apt.conf" "$@"
}

write_suite_apt() { # SUITE KEYRING
  local suite=$1 keyring=$2 dir=$CACHE/apt/$1 main security options own
  main=$(mirror_of main)
  security=$(mirror_of security)
  [ -n "$main" ] || die "no Debian mirror in this machine's apt configuration: set TCPTRAIL_DEBIAN_MIRROR"
  [ -n "$security" ] || die "no mirror of Debian's security archive: set TCPTRAIL_DEBIAN_SECURITY_MIRROR"
  mkdir -p "$dir"/{lists/partial,archives/partial,parts}
  : >"$dir/status"
  options="arch=amd64 signed-by=$keyring"
  # A suite that gets no more updates outlives the date on its Release file; the signature is checked all the same.
  [ "$suite" != bullseye ] || options+=" check-valid-until=no"
  {
    echo "deb [$options] $main $(suite_field "$suite" 3) main"
    own=$(suite_field "$suite" 4)
    [ "$own" = - ] || echo "deb [$options] $security $own main"
  } >"$dir/sources.list"
  cat >"$dir/apt.conf" <<END
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "$dir/parts";
Dir::Etc::Preferences "$dir/preferences";
Dir::Etc::PreferencesParts "$dir/parts";
Dir::Etc::TrustedParts "$dir/parts";
Dir::State "$dir";
Dir::State::Lists "$dir/lists";
Dir::State::Status "$dir/status";
Dir::Cache "$dir";
Dir::Cache::Archives "$dir/archives";
Dir::Cache::PkgCache "";
Dir::Cache::SrcPkgCache "";
END
}

# Where the keys of all suites are: the machine's package of them, or, where a suite is signed with a key that is newer than
# that package, the newest one that the machine's own (verified) sources offer, unpacked below the cache.
KEYRING_PATH=usr/share/keyrings/debian-archive-keyring.gpg
newer_keyring() {
  local dir=$CACHE/apt/keyring
  mkdir -p "$dir"
  (cd "$dir" && rm -f ./*.deb && apt-get -o "APT::Sandbox::User=$(id -un)" -qq download debian-archive-keyring &&
    dpkg-deb -x ./*.deb .) >&2 || return 1
  echo "$dir/$KEYRING_PATH"
}

update_suite() { # SUITE: refresh its private lists; signatures must verify
  local suite=$1 keyring=/$KEYRING_PATH log=$CACHE/apt/$1.update.log
  [ -e "$keyring" ] || keyring=$CACHE/apt/keyring/$KEYRING_PATH
  [ -e "$keyring" ] || keyring=$(newer_keyring) || die "no debian-archive-keyring: apt-get install debian-archive-keyring"
  write_suite_apt "$suite" "$keyring"
  # Error-Mode=any: a list that could not be verified or fetched is an error, not a warning.
  suite_apt "$suite" apt-get update -o APT::Update::Error-Mode=any >"$log" 2>&1 && return
  if grep -qE 'NO_PUBKEY|not available|not signed|EXPKEYSIG' "$log" && keyring=$(newer_keyring); then
    say "$suite: a newer debian-archive-keyring than the machine's is needed; taken from the machine's own sources"
    write_suite_apt "$suite" "$keyring"
    suite_apt "$suite" apt-get update -o APT::Update::Error-Mode=any >"$log" 2>&1 && return
  fi
  return 1
}

# The packages that hold the newest cloud kernel of the suite: NAME=VERSION, one a line, the image first. What the meta package
# depends on, whatever it is split into (sid: linux-image is a shell around linux-binary, linux-modules and linux-base).
kernel_packages() { # SUITE
  local suite=$1 name
  suite_apt "$suite" apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances linux-image-cloud-amd64 |
    grep -oE '^linux-(image|binary|modules|base)-[0-9][^ ]*cloud-amd64(-unsigned)?$' | sort -u |
    while read -r name; do
      echo "$name=$(suite_apt "$suite" apt-cache show --no-all-versions "$name" | sed -n 's/^Version: //p' | head -n 1)"
    done
}

# bzImage -> vmlinux. The boot protocol's header says where the compressed payload is, so nothing is searched for.
unpack_vmlinux() { # VMLINUZ OUT
  local sects offset length start part=$2.part
  sects=$(od -An -tu1 -j $((0x1f1)) -N1 "$1") || return 1
  offset=$(od -An -tu4 -j $((0x248)) -N4 "$1")
  length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
  start=$(((sects + 1) * 512 + offset))
  # The payload ends with its unpacked size in four bytes, which most decompressors call rubbish.
  tail -c +$((start + 1)) "$1" | head -c $((length - 4)) >"$part"
  case $(od -An -tx1 -N4 "$part" | tr -d ' ') in
    fd377a58) xz -dc --single-stream "$part" ;;
    28b52ffd) zstd -dcq "$part" ;;
    02214c18) lz4 -dcq "$part" ;;
    1f8b*) gzip -dc "$part" 2>/dev/null || [ $? -eq 2 ] ;;
    *) say "$1: compressed in a way this script does not know" && false ;;
  esac >"$2" && rm -f "$part" && [ "$(od -An -c -j1 -N3 "$2" | tr -d ' ')" = ELF ]
}

# lib/modules of the guest: the wanted ones unpacked, with `order` naming them so that each comes after what it needs.
pack_modules() { # TREE RELEASE OUT.cpio
  local tree=$1 release=$2 out=$3 root=$1/lib/modules/$2 stage=$1/stage name file dep
  [ -d "$root" ] || { mkdir -p "$tree/lib/modules" && mv "$tree/usr/lib/modules/$release" "$root"; } || return 1
  depmod -b "$tree" "$release" || return 1
  mkdir -p "$stage/lib/modules"
  : >"$stage/lib/modules/order"
  for name in $KERNEL_MODULES; do
    file=$(grep -oE "^[^:]*/$name\.ko[^:]*:.*" "$root/modules.dep") || continue
    # modules.dep names what a module needs nearest first: load from the far end.
    for dep in $(tr ' ' '\n' <<<"${file/:/}" | tac); do
      name=$(basename "$dep")
      name=${name%%.ko*}.ko
      grep -qx "$name" "$stage/lib/modules/order" && continue
      case $dep in
        *.xz) xz -dc "$root/$dep" ;;
        *.zst) zstd -dcq "$root/$dep" ;;
        *.gz) gzip -dc "$root/$dep" ;;
        *) cat "$root/$dep" ;;
      esac >"$stage/lib/modules/$name" || return 1
      echo "$name" >>"$stage/lib/modules/order"
    done
  done
  (cd "$stage" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) >"$out"
}

fetch_and_unpack() { # SUITE TMP PACKAGES…: into TMP/out (no `set -e` here: callers test it, which switches that off)
  local suite=$1 tmp=$2 deb vmlinuz release
  shift 2
  mkdir "$tmp/deb" "$tmp/tree" "$tmp/out" && (cd "$tmp/deb" && suite_apt "$suite" apt-get -qq download "$@") || return 1
  for deb in "$tmp"/deb/*.deb; do dpkg-deb -x "$deb" "$tmp/tree" || return 1; done
  vmlinuz=$(find "$tmp/tree" -name 'vmlinuz*' -type f | head -n 1)
  release=$(find "$tmp/tree" -path '*lib/modules/*' -prune -name '*cloud*' -printf '%f\n' | head -n 1)
  if [ -z "$vmlinuz" ] || [ -z "$release" ]; then
    say "$suite: no kernel in $*"
    return 1
  fi
  echo "$release" >"$tmp/out/release" && unpack_vmlinux "$vmlinuz" "$tmp/out/vmlinux" &&
    pack_modules "$tmp/tree" "$release" "$tmp/out/modules.cpio"
}

install_kernel() { # SUITE VERSION PACKAGES…: into $CACHE/SUITE/VERSION, whole or not at all
  local suite=$1 version=$2 dir=$CACHE/$1/$2 tmp
  shift 2
  tmp=$(mktemp -d "$CACHE/$suite/.new.XXXXXX") || return 1
  say "$suite: fetching $*"
  fetch_and_unpack "$suite" "$tmp" "$@" && rm -rf "$dir" && mv "$tmp/out" "$dir"
  local rc=$?
  rm -rf "$tmp"
  return $rc
}

# Makes sure that $CACHE/<suite>/current names a kernel that can be booted. Asks apt once a day (REFRESH=1: now; OFFLINE=1:
# never), and goes on with the cached kernel, saying so, where the mirror cannot be reached.
ensure_kernel() { # SUITE
  local suite=$1 dir=$CACHE/$1 have='' packages version
  mkdir -p "$dir"
  [ -e "$dir/current" ] && have=$(<"$dir/current") && [ -e "$dir/$have/modules.cpio" ] || have=''
  if [ -n "$have" ]; then
    [ "$OFFLINE" = 1 ] && return
    [ "$REFRESH" != 1 ] && [ -n "$(find "$dir/checked" -mmin -1440 2>/dev/null)" ] && return
  elif [ "$OFFLINE" = 1 ]; then
    say "$suite: no kernel in $CACHE, and --offline forbids to fetch one"
    return 1
  fi
  if update_suite "$suite" && packages=$(kernel_packages "$suite") && [ -n "$packages" ]; then
    version=$(head -n 1 <<<"$packages")
    version=${version#*=}
    # shellcheck disable=SC2086  # one word a package
    if [ -e "$dir/$version/modules.cpio" ] || install_kernel "$suite" "$version" $packages; then
      echo "$version" >"$dir/current"
      touch "$dir/checked"
      find "$dir" -mindepth 1 -maxdepth 1 -type d ! -name "$version" ! -name "$have" -exec rm -rf {} +
      return
    fi
  fi
  [ -n "$have" ] || { sed 's/^/  /' "$CACHE/apt/$suite.update.log" >&2; return 1; }
  say "$suite: the mirror gave no kernel now; going on with the cached $have"
}
