# shellcheck shell=bash
# What the scripts share. Source it; it moves to the top of the project.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=$PATH:/usr/sbin:/sbin # bpftool, nginx: not in everyone's PATH on Debian
# Users such as nobody have no home for ccache to write to.
[[ -w ${HOME:-/nowhere} || -n ${CCACHE_DIR-} ]] || export CCACHE_DIR=$PWD/build/ccache

say() { printf 'tcptrail: %s\n' "$*" >&2; }

# quietly LOG COMMAND…: what the command prints goes to LOG, and to stderr too if it fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 </dev/null && return
  cat "$log" >&2
  say "failed: $* (all of it is in $log)"
  return 1
}

# configure DIR NAME=VALUE…: a Release build with Ninja and ccache. Costs nothing when DIR is already
# configured with these values: what changes in the CMake files themselves is noticed by the build.
configure() {
  local dir=$1 setting fresh=true
  shift
  for setting in CMAKE_BUILD_TYPE=Release "$@"; do
    grep -qsE "^${setting%%=*}:[A-Z]+=${setting#*=}\$" "$dir/CMakeCache.txt" || fresh=false
  done
  if $fresh && [[ -f $dir/build.ninja ]]; then return; fi
  quietly "$dir/configure.log" cmake -S . -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "${@/#/-D}"
}

# The build with the other compiler, for CI and for clang-tidy, which does not know all of g++'s flags.
# Nobody runs it: it need not be fast.
configure_clang() {
  configure build-clang CMAKE_CXX_COMPILER=clang++ BUILD_TESTING=ON TCPTRAIL_WERROR=ON "CMAKE_CXX_FLAGS_RELEASE=-O0 -DNDEBUG"
}

# build DIR [--target NAME]: all cores, or CMAKE_BUILD_PARALLEL_LEVEL.
build() { quietly "$1/build.log" cmake --build "$@"; }

# git, also for root in a clone that somebody else owns (sudo scripts/lint).
git_here() { git -c safe.directory="$PWD" "$@"; }

# tracked_files PATTERN…: the files of the project that match, NUL-terminated; new ones count before git add.
tracked_files() {
  git_here ls-files -z --cached --others --exclude-standard -- "$@" |
    while IFS= read -r -d '' file; do
      [[ ! -f $file ]] || printf '%s\0' "$file"
    done
}
