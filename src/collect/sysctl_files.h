// SPDX-License-Identifier: Apache-2.0
// What the files say from which sysctls are set at boot: sysctl.d(5) and /etc/sysctl.conf.
#pragma once

#include <string>

namespace tcptrail::collect {

/// One line for each setting of TCP in them: "file.net.ipv4.tcp_tw_recycle=/etc/sysctl.conf:12:1", which is file, line and
/// value. Comments and what is masked by a file of the same name in an earlier folder are left out, as at boot.
std::string read_sysctl_files();

}  // namespace tcptrail::collect
