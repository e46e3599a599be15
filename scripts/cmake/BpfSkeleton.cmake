# BPF C source -> BPF object (CO-RE, BTF kept, DWARF dropped) -> libbpf skeleton header.
#
#   tcptrail_bpf_skeleton(<target> <dir/name.bpf.c> [INCLUDES <dir>...] [DEFINES <NAME=value>...])
#
# <target> becomes an INTERFACE library. Whoever links it can write `#include "name.skel.h"`
# (struct name_bpf, functions name_bpf__open() and so on), waits for the header to be made, and
# links libbpf. The header counts as a system header, so our warnings do not judge bpftool's code.
#
# Target tcptrail_skeletons makes all of them: what a tool needs that reads the code and builds nothing.
#
# The object is rebuilt when the source or any header that it includes changes. It does not depend
# on where the tree stands or on the BTF of the machine that builds it.

include_guard(GLOBAL)
cmake_policy(SET CMP0116 NEW) # Ninja: depfile paths are relative to the current binary folder

find_program(TCPTRAIL_BPF_CLANG NAMES clang clang-19 clang-16 clang-15 clang-14 REQUIRED
  DOC "clang with the BPF target, whatever compiler builds the rest")
find_program(TCPTRAIL_LLVM_STRIP NAMES llvm-strip llvm-strip-19 llvm-strip-16 llvm-strip-15 llvm-strip-14
  REQUIRED DOC "llvm-strip: the only strip that keeps the BTF of a BPF object")
# Debian installs bpftool in /usr/sbin, which is not in everyone's PATH.
find_program(TCPTRAIL_BPFTOOL NAMES bpftool HINTS /usr/sbin /sbin /usr/local/sbin REQUIRED
  DOC "bpftool, for gen skeleton")
find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBBPF REQUIRED IMPORTED_TARGET libbpf)

add_custom_target(tcptrail_skeletons)

# The architecture as bpf_tracing.h spells it.
function(_tcptrail_bpf_arch out)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64|i[3-6]86)$")
    set(arch x86)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(arch arm64)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^arm")
    set(arch arm)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(ppc|powerpc)")
    set(arch powerpc)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^s390")
    set(arch s390)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^riscv")
    set(arch riscv)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^loongarch")
    set(arch loongarch)
  else()
    message(FATAL_ERROR "tcptrail: libbpf knows no registers of ${CMAKE_SYSTEM_PROCESSOR}")
  endif()
  set(${out} ${arch} PARENT_SCOPE)
endfunction()

function(tcptrail_bpf_skeleton target source)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "INCLUDES;DEFINES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tcptrail_bpf_skeleton(${target}): unknown ${arg_UNPARSED_ARGUMENTS}")
  endif()
  get_filename_component(source "${source}" ABSOLUTE)
  get_filename_component(name "${source}" NAME)
  if(NOT name MATCHES "^(.+)\\.bpf\\.c$")
    message(FATAL_ERROR "tcptrail_bpf_skeleton(${target}): ${name} is not called *.bpf.c")
  endif()
  set(stem "${CMAKE_MATCH_1}")
  string(MAKE_C_IDENTIFIER "${stem}_bpf" skeleton_name)
  get_filename_component(source_dir "${source}" DIRECTORY)
  set(out_dir "${CMAKE_CURRENT_BINARY_DIR}/${target}")
  set(object "${out_dir}/${stem}.bpf.o")
  set(depfile "${object}.d")
  set(header "${out_dir}/${stem}.skel.h")
  file(MAKE_DIRECTORY "${out_dir}")

  _tcptrail_bpf_arch(arch)
  set(flags -target bpf -mcpu=v3 -O2 -g -std=gnu11 -D__TARGET_ARCH_${arch}
    -Wall -Wextra -Wno-unused-parameter # BPF_PROG() names every argument, used or not
    "-ffile-prefix-map=${CMAKE_SOURCE_DIR}=." # the line info inside the BTF
    "-I${source_dir}")
  if(TCPTRAIL_WERROR)
    list(APPEND flags -Werror)
  endif()
  foreach(dir IN LISTS arg_INCLUDES)
    get_filename_component(dir "${dir}" ABSOLUTE)
    list(APPEND flags "-I${dir}")
  endforeach()
  foreach(define IN LISTS arg_DEFINES)
    list(APPEND flags "-D${define}")
  endforeach()
  foreach(dir IN LISTS LIBBPF_INCLUDE_DIRS)
    list(APPEND flags -isystem "${dir}")
  endforeach()
  if(CMAKE_LIBRARY_ARCHITECTURE) # Debian's <asm/types.h>; clang -target bpf does not look there
    list(APPEND flags -idirafter "/usr/include/${CMAKE_LIBRARY_ARCHITECTURE}")
  endif()

  add_custom_command(
    OUTPUT "${object}"
    DEPENDS "${source}"
    DEPFILE "${depfile}"
    COMMAND "${TCPTRAIL_BPF_CLANG}" ${flags} -MD -MF "${depfile}" -MT "${object}"
            -c "${source}" -o "${object}"
    COMMAND "${TCPTRAIL_LLVM_STRIP}" -g "${object}"
    COMMENT "BPF ${name}"
    VERBATIM)
  # bpftool writes to stdout; the name is given only to a header that is complete.
  add_custom_command(
    OUTPUT "${header}"
    DEPENDS "${object}"
    COMMAND "${TCPTRAIL_BPFTOOL}" gen skeleton "${object}" name ${skeleton_name} > "${header}.part"
    COMMAND "${CMAKE_COMMAND}" -E rename "${header}.part" "${header}"
    COMMENT "BPF ${stem}.skel.h"
    VERBATIM)

  add_custom_target(${target}_header DEPENDS "${header}")
  add_dependencies(tcptrail_skeletons ${target}_header)
  add_library(${target} INTERFACE)
  add_dependencies(${target} ${target}_header)
  target_include_directories(${target} SYSTEM INTERFACE "${out_dir}")
  target_link_libraries(${target} INTERFACE PkgConfig::LIBBPF)
endfunction()
