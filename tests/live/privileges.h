// SPDX-License-Identifier: Apache-2.0
// Running the binary as somebody less than root. All of these are for BeforeExec: they run in the child.
#pragma once

#include <string>

namespace tcptrail::live {

constexpr unsigned kNobody = 65534;

/// uid and gid of nobody, no capabilities.
void become_nobody();
/// Root, but for the right to a better priority.
void drop_sys_nice();
/// Root with a bounding set of CAP_BPF and CAP_PERFMON.
void keep_bpf_as_root();
/// Nobody with CAP_BPF and CAP_PERFMON, ambient.
void keep_bpf_as_nobody();

/// A copy of the binary that everybody may run, gone with the object.
class PublicCopy {
public:
    explicit PublicCopy(const std::string& binary);
    ~PublicCopy();
    PublicCopy(const PublicCopy&) = delete;
    PublicCopy& operator=(const PublicCopy&) = delete;
    const std::string& path() const { return path_; }

private:
    std::string folder_;
    std::string path_;
};

}  // namespace tcptrail::live
