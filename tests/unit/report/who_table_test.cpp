// SPDX-License-Identifier: Apache-2.0
// A report's processes outlive what the tracker remembers, and are bounded.
#include "report/who_table.h"

#include <map>

#include <gtest/gtest.h>

#include "report/timewait_ledger.h"

namespace tcptrail::report {
namespace {

struct Directory final : ProcessDirectory {
    std::map<ProcessId, Process> processes;

    const Process* find(ProcessId id) const override {
        const auto found = processes.find(id);
        return found != processes.end() ? &found->second : nullptr;
    }
    void add(ProcessId id, std::uint32_t pid, const char* thread = "") {
        Process process;
        process.pid = pid;
        process.comm = "app";
        process.thread = thread;
        processes[id] = process;
    }
};

TimeWaitEntry made_by(ProcessId owner, ProcessId closer) {
    TimeWaitEntry entry;
    entry.owner = {owner, Evidence::connect};
    entry.closer = closer;
    entry.role = Role::active;
    entry.ends.rport = 80;
    return entry;
}

TEST(WhoTable, ThreadsAreOneProcessWhichOutlivesTheDirectory) {
    Directory directory;
    directory.add(5, 100);
    directory.add(6, 100, "worker");
    directory.add(7, 200);
    WhoTable table;
    EXPECT_EQ(table.of(6, directory), 1U);
    EXPECT_EQ(table.of(5, directory), 1U);
    EXPECT_EQ(table.of(7, directory), 2U);
    EXPECT_EQ(table.of(0, directory), 0U);
    EXPECT_EQ(table.of(8, directory), 0U) << "it may be described later";
    directory.add(8, 300);
    EXPECT_EQ(table.of(8, directory), 3U);
    directory.processes.clear();
    EXPECT_EQ(table.of(6, directory), 1U);
    EXPECT_EQ(table.process(1)->pid, 100U);
    EXPECT_EQ(table.process(1)->thread, "");
    EXPECT_EQ(table.process(0), nullptr);
    table.clear();
    EXPECT_EQ(table.of(6, directory), 0U);
}

TEST(WhoTable, OneTooManyHasNoNumber) {
    Directory directory;
    for (ProcessId id = 1; id <= 4; ++id) {
        directory.add(id, 100 + id / 2);  // 100, 101, 101, 102
    }
    WhoTable table(2);
    EXPECT_EQ(table.of(1, directory), 1U);
    EXPECT_EQ(table.of(2, directory), 2U);
    EXPECT_EQ(table.of(3, directory), 2U);
    EXPECT_EQ(table.of(4, directory), std::nullopt);
    EXPECT_EQ(table.of(1, directory), 1U);
}

TEST(TimeWaitLedger, NamesProcessesThatTheTrackerHasForgotten) {
    Directory directory;
    directory.add(1, 100);
    directory.add(2, 200);
    TimeWaitLedger ledger(directory);
    ledger.add(made_by(1, 2));
    directory.processes.clear();
    const auto origins = ledger.origins(1'000'000'000);
    ASSERT_EQ(origins.size(), 1U);
    ASSERT_TRUE(origins[0].owner.process && origins[0].closer);
    EXPECT_EQ(origins[0].owner.process->pid, 100U);
    EXPECT_EQ(origins[0].closer->pid, 200U);
}

TEST(TimeWaitLedger, CountsTheProcessesItHasNoRoomForAsLeftOut) {
    Directory directory;
    for (ProcessId id = 1; id <= 5; ++id) {
        directory.add(id, 100 + id);
    }
    TimeWaitLedger ledger(directory, 100, 3);
    for (ProcessId id = 1; id <= 5; ++id) {
        ledger.add(made_by(id, id));
    }
    std::uint64_t created = 0;
    for (const TimeWaitOrigin& origin : ledger.origins(1'000'000'000)) {
        EXPECT_TRUE(origin.owner.process) << "none is said to be unknown";
        created += origin.created;
    }
    EXPECT_EQ(created, 3U);
    EXPECT_EQ(ledger.left_out(), 2U);
    ledger.clear();
    ledger.add(made_by(5, 5));
    EXPECT_EQ(ledger.left_out(), 0U);
}

}  // namespace
}  // namespace tcptrail::report
