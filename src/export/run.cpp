// SPDX-License-Identifier: Apache-2.0
#include "export/run.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "capture/fd.h"
#include "export/exporter.h"
#include "render/json.h"

namespace tcptrail::exporting {
namespace {

/// A file that is gone when this is.
class TemporaryFile {
public:
    TemporaryFile() : path_((std::filesystem::temp_directory_path() / "tcptrail-export-XXXXXX").string()) {
        fd_.reset(::mkstemp(path_.data()));
    }
    ~TemporaryFile() {
        if (fd_) {
            ::unlink(path_.c_str());
        }
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    explicit operator bool() const { return static_cast<bool>(fd_); }
    const std::string& path() const { return path_; }

private:
    std::string path_;
    capture::Fd fd_;
};

Result<void> copy_to(const std::string& path, render::Output& output) {
    const capture::Fd from(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 1 << 16> bytes{};
    for (;;) {
        const ssize_t got = from ? ::read(from.get(), bytes.data(), bytes.size()) : -1;
        if (got < 0) {
            return fail(Exit::failed, "cannot read " + path + ": " + std::strerror(errno));
        }
        if (got == 0) {
            return {};
        }
        output.text().append(bytes.data(), static_cast<std::size_t>(got));
        const auto flushed = output.flush();
        if (!flushed) {
            return tl::unexpected(flushed.error());
        }
        if (*flushed == render::Reader::gone) {
            return {};
        }
    }
}

Result<std::unique_ptr<Exporter>> make(Format format, const std::string& path) {
    switch (format) {
        case Format::jsonl: return make_jsonl();
        case Format::csv: return make_csv();
        case Format::perfetto: return make_perfetto();
        case Format::sqlite: return make_sqlite(path);
    }
    return fail(Exit::usage, "no such format");
}

}  // namespace

Result<void> run_export(RecordSource& source, Format format, const std::string& path, const RunOptions& options,
                        const BeforePoll& before_poll) {
    const bool database = format == Format::sqlite;
    if (database && path.empty() && ::isatty(STDOUT_FILENO) == 1) {
        return fail(Exit::usage, "a database does not belong on a terminal: write it to a file with -w FILE");
    }
    capture::Fd file;
    std::optional<TemporaryFile> temporary;
    if (database && path.empty()) {
        temporary.emplace();
        if (!*temporary) {
            return fail(Exit::failed, std::string("cannot make a temporary file: ") + std::strerror(errno));
        }
    } else if (!database && !path.empty()) {
        file.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (!file) {
            return fail(Exit::failed, "cannot create " + path + ": " + std::strerror(errno));
        }
    }
    auto exporter = make(format, temporary ? temporary->path() : path);
    if (!exporter) {
        return tl::unexpected(exporter.error());
    }
    render::Output output(file ? file.get() : STDOUT_FILENO);
    render::Json renderer;
    (*exporter)->begin(output.text());
    const PipelineOptions pipeline{views_for(**exporter), options, {}};
    const auto done = run_pipeline(source, pipeline, renderer, output, before_poll);
    auto finished = (*exporter)->finish(output.text());
    const auto flushed = output.flush();
    if (!done) {
        return tl::unexpected(done.error());
    }
    if (!finished) {
        return finished;
    }
    if (!flushed) {
        return tl::unexpected(flushed.error());
    }
    exporter->reset();  // closes the database
    return temporary ? copy_to(temporary->path(), output) : Result<void>();
}

}  // namespace tcptrail::exporting
