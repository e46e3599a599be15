#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The four exports of each recording here say the same as `trace` and `life`, and are well-formed."""
import csv
import io
import json
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import unittest

here = pathlib.Path(__file__).resolve().parent
tool = sys.argv.pop(1)


def run(*words, status=0):
    done = subprocess.run([tool, *words], capture_output=True, timeout=60)
    assert done.returncode == status, (words, done.returncode, done.stderr)
    return done.stdout


def rows(*words):
    return [json.loads(line) for line in run(*words).splitlines()]


class Export(unittest.TestCase):
    def each(self):
        recordings = sorted(here.glob("*.trail"))
        self.assertTrue(recordings)
        for recording in recordings:
            with self.subTest(recording.name):
                path = str(recording)
                self.transitions = [r for r in rows("trace", "-jr", path) if r["type"] == "transition"]
                self.connections = [r for r in rows("life", "-jr", path) if r["type"] == "connection"]
                yield path

    def test_jsonl(self):
        for path in self.each():
            told = rows("export", "--to", "jsonl", "-r", path)
            self.assertEqual([r for r in told if r["type"] == "transition"], self.transitions)
            self.assertEqual([r for r in told if r["type"] == "connection"], self.connections)
            self.assertEqual(told[-1]["type"], "trace_end")

    def test_csv(self):
        for path in self.each():
            table = list(csv.DictReader(io.StringIO(run("export", "--to", "csv", "-r", path).decode())))
            for kind, expected in (("transition", self.transitions), ("connection", self.connections)):
                told = [r for r in table if r["type"] == kind]
                self.assertEqual(len(told), len(expected))
                for line, row in zip(told, expected):
                    self.assertNotIn(None, line)
                    for key, value in line.items():
                        if key in row and not isinstance(row[key], (dict, list)):
                            text = {True: "true", False: "false", None: ""}.get(row[key], str(row[key])) \
                                if isinstance(row[key], (bool, type(None))) else str(row[key])
                            self.assertEqual(value, text, key)
                    self.assertEqual(line["owner_pid"], str(row["owner"].get("pid", "")))

    def test_sqlite(self):
        for path in self.each():
            with tempfile.TemporaryDirectory() as folder:
                name = folder + "/db"
                self.assertEqual(run("export", "--to", "sqlite", "-r", path, "-w", name), b"")
                db = sqlite3.connect(name)
                query = db.execute
                self.assertEqual(query("pragma integrity_check").fetchall(), [("ok",)])
                told = query("select time, cookie, lport, rport, old, new, in_old_us, pid, evidence from transition t "
                             "left join owner o on o.id = t.owner order by t.rowid").fetchall()
                self.assertEqual(told, [(r["time"], r["cookie"], r["lport"], r["rport"], r["old"], r["new"],
                                         r["in_old_us"], r["owner"].get("pid"), r["owner"]["evidence"])
                                        for r in self.transitions])
                told = query("select time, cookie, close_reason, lifetime_us, bytes_sent, complete, pid from connection c "
                             "left join owner o on o.id = c.owner order by c.rowid").fetchall()
                self.assertEqual(told, [(r["time"], r["cookie"], r["close_reason"], r["lifetime_us"], r["bytes_sent"],
                                         r["complete"], r["owner"].get("pid")) for r in self.connections])
                self.readme_query(db)
                piped = run("export", "--to", "sqlite", "-r", path)
                self.assertEqual(piped[:15], b"SQLite format 3")

    def readme_query(self, db):
        """The query that stands in the README, as it stands there."""
        text = (here / "../../README.md").read_text()
        sql = text.split("```sql\n")[1].split("```")[0]
        sql = sql.replace("10.0.0.5", "127.0.0.1").replace("2024-05-01T12:00:00", "2000").replace(
            "2024-05-01T12:05:00", "3000")
        expected = {}
        for row in self.transitions:
            if row["new"] == "TIME_WAIT" and row["raddr"] == "127.0.0.1":
                key = (row["owner"].get("pid"), row["owner"].get("comm"))
                expected[key] = expected.get(key, 0) + 1
        self.assertEqual({(r[0], r[1]): r[-1] for r in db.execute(sql)}, expected)
        plan = " ".join(str(r) for r in db.execute("explain query plan " + sql))
        self.assertIn("transition_by_new", plan)

    def test_perfetto(self):
        for path in self.each():
            trace = json.loads(run("export", "--to", "perfetto", "-r", path))
            ends, named, slices = {}, set(), 0
            for event in trace["traceEvents"]:
                track = (event["pid"], event["tid"])
                if event["ph"] == "M":
                    named.add(track if event["name"] == "thread_name" else event["pid"])
                    continue
                self.assertIn(track, named, "a track is named before it is used")
                self.assertIn(event["pid"], named)
                self.assertIn(event["ph"], "Xi")
                ts = round(event["ts"] * 1000)
                self.assertGreaterEqual(ts, ends.get(track, 0), "slices of a track neither overlap nor go back")
                ends[track] = ts + round(event.get("dur", 0) * 1000)
                slices += event["ph"] == "X"
            marks = [e for e in trace["traceEvents"] if e["ph"] == "i"]
            self.assertEqual(len(marks), len(self.connections))
            self.assertGreater(slices, len(self.connections))

    def test_wrong_usage(self):
        for words in (["export"], ["export", "--to", "csv"], ["export", "--to", "xml", "-r", "f"], ["export", "-r", "f"]):
            run(*words, status=2)


unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
