# What each record passes through is optimised as one at the link of the program: a twentieth of its time, for three seconds of linking.
#
#   tcptrail_hot_path(<source>...)     in the folder that compiles them
#   tcptrail_link_hot_path(<target>)   the program; all else (tests) links the same objects as usual
#
# TCPTRAIL_LTO=OFF links faster, for work on the code.

include_guard(GLOBAL)

option(TCPTRAIL_LTO "Optimise the path of a record as one" ON)
if(TCPTRAIL_LTO AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_BUILD_TYPE STREQUAL "Release")
  set(TCPTRAIL_LTO_FLAGS -flto=auto -ffat-lto-objects)
endif()

function(tcptrail_hot_path)
  set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS ${TCPTRAIL_LTO_FLAGS})
endfunction()

function(tcptrail_link_hot_path target)
  target_link_options(${target} PRIVATE ${TCPTRAIL_LTO_FLAGS})
endfunction()
