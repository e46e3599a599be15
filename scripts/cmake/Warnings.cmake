# The warnings of our own code, in one place.
#
#   tcptrail_warnings(<target>...)     for each library and executable of ours
#
# TCPTRAIL_WERROR=ON makes them errors, in BPF code too (see BpfSkeleton.cmake). CI builds with it;
# it is off by default because a newer compiler than ours must not keep anybody from building.

include_guard(GLOBAL)

option(TCPTRAIL_WERROR "Warnings are errors" OFF)

function(tcptrail_warnings)
  foreach(target IN LISTS ARGN)
    target_compile_options(${target} PRIVATE
      -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
      -Wcast-qual -Wunused -Wvla -Wformat=2
      # GCC 12 sees overlapping copies in `"text" + std::string` (GCC bug 105651).
      $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
      $<$<BOOL:${TCPTRAIL_WERROR}>:-Werror>)
  endforeach()
endfunction()
