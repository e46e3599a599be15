#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input to the real binary: a clear line, exit 1 or the rest of the answer, no crash, little memory, little time."""
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import unittest

here = pathlib.Path(__file__).resolve().parent
tool = sys.argv.pop(1)
most_memory = 200 << 20


def bound():
    resource.setrlimit(resource.RLIMIT_AS, (most_memory, most_memory))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def run(*words):
    return subprocess.run([tool, *words], capture_output=True, text=True, timeout=120, preexec_fn=bound)


class Damage(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.whole = min(here.glob("*.trail"), key=lambda path: path.stat().st_size).read_bytes()

    def file(self, content):
        path = os.path.join(self.folder.name, "f")
        with open(path, "wb") as out:
            out.write(content)
        return path

    def refused(self, path):
        for command in ("trace", "life", "report", "export"):
            words = [command, "-r", path] + (["--to", "csv"] if command == "export" else [])
            done = run(*words)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(path, done.stderr)

    def test_what_is_no_recording(self):
        self.refused(self.file(b""))
        self.refused(self.file(b"12:00 hello\n" * 100))
        self.refused(self.folder.name)
        self.refused(os.path.join(self.folder.name, "none"))
        self.refused(self.file(os.urandom(10000)))
        self.refused("/dev/null")

    def test_a_future_version(self):
        later = bytearray(self.whole)
        later[12] = 2
        path = self.file(later)
        done = run("trace", "-r", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("version", done.stderr)

    def test_a_huge_sparse_file(self):
        path = self.file(self.whole)
        os.truncate(path, 3 << 30)
        done = run("life", "--json", "-r", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("bytes", done.stderr)

    def test_cut_anywhere(self):
        """Every cut gives a beginning of the whole answer, and says that it is one."""
        whole = run("trace", "--json", "-r", self.file(self.whole))
        self.assertEqual(whole.stderr, "")
        expected = [line for line in whole.stdout.splitlines() if '"type":"transition"' in line]
        step = 1 if "--every" in sys.argv else max(1, len(self.whole) // 60)
        most = 0
        for length in list(range(64, len(self.whole), step)) + [len(self.whole) - 1]:
            done = run("trace", "--json", "-r", self.file(self.whole[:length]))
            self.assertEqual(done.returncode, 0, f"{length}: {done.stderr}")
            self.assertEqual(len(done.stderr.splitlines()), 1, f"{length}: {done.stderr}")
            lines = done.stdout.splitlines()
            self.assertIs(json.loads(lines[-1])["truncated"], True)
            self.assertEqual(lines[:-1], expected[:len(lines) - 1], length)
            self.assertGreaterEqual(len(lines), most, "what a shorter file had, a longer one has")
            most = len(lines)
        self.assertGreater(most, 1)

    def test_flipped_bits(self):
        random.seed(7)
        for _ in range(30):
            damaged = bytearray(self.whole)
            for _ in range(random.choice((1, 1, 2, 8))):
                damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
            path = self.file(damaged)
            for command in ("life", "report"):
                done = run(command, "--json", "-r", path)
                self.assertIn(done.returncode, (0, 1), done.stderr)
                self.assertLessEqual(len(done.stderr.splitlines()), 1, done.stderr)
                for line in done.stdout.splitlines():
                    json.loads(line)
                if damaged != self.whole:
                    self.assertNotEqual(done.stderr, "", "no damage is passed over in silence")

    def test_a_hole_is_said_in_the_answer_too(self):
        mark = bytes((0x9A, 0xC5)) + b"TTK" + bytes((0xB7, 0x9D, 0xE3))
        trails = [path.read_bytes() for path in here.glob("*.trail")]
        whole = max(trails, key=lambda trail: trail.count(mark))
        self.assertGreaterEqual(whole.count(mark), 3, "a first, a middle and a last block")
        second = whole.index(mark, whole.index(mark) + 1)
        damaged = bytearray(whole)
        damaged[second + 100] ^= 1
        path = self.file(damaged)
        done = run("life", "--json", "-r", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIs(json.loads(done.stdout.splitlines()[-1])["truncated"], True)
        done = run("life", "-r", path)
        self.assertIn(", the recording has gaps", done.stdout.splitlines()[-1])
        done = run("report", "-r", path)
        self.assertIn("The answer is NOT complete: lost 0, missed 0, the recording has gaps.", done.stdout)


unittest.main(argv=[sys.argv[0]])
