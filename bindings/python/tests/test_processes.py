# SPDX-License-Identifier: MIT
"""Maps between processes: passed, found, inherited; and left by one that dies."""
import faulthandler
import mmap
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Callable, List

import ammap

faulthandler.dump_traceback_later(120, exit=True)

PAGE = 4096
LONG = 60.0
SHARED, RAW = ammap.Share.SHARED, ammap.Share.RAW


def forked(body: Callable[[], Any]) -> int:
    """Run the body in a forked child; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        body()
        status = 0
    except BaseException:  # pylint: disable=broad-except
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def write_peer(m: Any) -> None:
    """What a process of multiprocessing does."""
    m.write(0, b"spawned")


class Processes(unittest.TestCase):
    """What two processes have in common."""

    def child(self, body: Callable[[], Any]) -> None:
        """Run the body in a child, which succeeds."""
        self.assertEqual(os.waitpid(forked(body), 0)[1], 0)

    def killed(self, body: Callable[[], Any]) -> None:
        """Run the body in a child that is killed at its end."""
        def then_die() -> None:
            body()
            os.kill(os.getpid(), signal.SIGKILL)

        pid = forked(then_die)
        self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)

    def test_fork(self) -> None:
        with ammap.Map(PAGE, share=SHARED) as m, ammap.Map(PAGE) as private:
            self.child(lambda: (m.write(0, b"child"), private.write(0, b"child")))
            self.assertEqual((m.read(0, 5), private.read(0, 5)), (b"child", bytes(5)))

    def test_fork_omit(self) -> None:
        with ammap.Map(PAGE, fork=ammap.Fork.OMIT) as m:

            def look() -> None:
                self.assertEqual(len(m), 0)
                self.assertRaises(ammap.UnsupportedError, m.stat)
                m.close()

            self.child(look)

    def test_a_child_does_not_hold_what_its_parent_does(self) -> None:
        for share in (ammap.Share.PRIVATE, SHARED):
            m = ammap.Map(PAGE, share=share)
            m.write(0, b"parent")
            held = m.slice(0, 6)

            def child() -> None:
                bytes(held.view)
                self.assertRaises(ammap.BusyError, m.close)
                held.release()
                m.close()

            self.child(child)
            self.assertRaises(ammap.BusyError, m.write, 0, b"x", timeout=0)
            held.release()
            m.write(0, b"x", timeout=0)
            m.close()

    def test_send_and_receive(self) -> None:
        here, there = socket.socketpair()
        with here, there, ammap.Map(PAGE, share=SHARED) as m:
            self.assertRaises(ammap.TimeoutError, ammap.Map.recv, here, timeout=0.01)
            m.send(here)
            self.child(lambda: ammap.Map.recv(there).write(0, b"sent"))
            self.assertEqual(m.read(0, 4), b"sent")
            there.close()
            self.assertRaises(ConnectionError, ammap.Map.recv, here)

    def test_export_to_read(self) -> None:
        with ammap.Map(PAGE, share=SHARED) as m:
            m.write(0, b"look")
            fd = m.export(ammap.Rights.READ)
            with ammap.Map.from_fd(fd) as other:
                self.assertEqual(other.read(0, 4), b"look")
                self.assertEqual(other.load_u32(0), int.from_bytes(b"look", sys.byteorder))
                self.assertRaises(ammap.ReadOnlyError, other.write, 0, b"x")
                self.assertIs(other.stat().why_read_only, ammap.Why.RIGHTS)
            os.close(fd)
            m.seal(ammap.Seal.SEAL)
            self.assertRaises(PermissionError, m.seal, ammap.Seal.GROW)

    def test_exec(self) -> None:
        with ammap.Map(PAGE, share=SHARED) as m:
            fd = m.export()
            program = f"import ammap; ammap.Map.from_fd({fd}).write(0, b'exec')"
            subprocess.run([sys.executable, "-c", program], pass_fds=[fd], check=True, timeout=LONG)
            os.close(fd)
            self.assertEqual(m.read(0, 4), b"exec")

    def test_a_script_that_ends_releases_what_it_forgot(self) -> None:
        with ammap.Map(PAGE, share=SHARED) as m:
            fd = m.export()
            program = f"import ammap; m = ammap.Map.from_fd({fd}); held = m.mut_slice(); held.view[0] = 1"
            done = subprocess.run(
                [sys.executable, "-c", program], pass_fds=[fd], check=True, timeout=LONG, stderr=subprocess.PIPE
            )
            os.close(fd)
            self.assertEqual(done.stderr, b"")
            self.assertEqual(m.read(0, 1, timeout=0), b"\1")

    def test_raw_is_memory_for_all(self) -> None:
        with ammap.Map(PAGE, share=RAW) as m:
            with mmap.mmap(m.fileno(), PAGE) as bare:
                bare[0:3] = b"raw"
                self.assertEqual(m[0:3], b"raw")

    def test_file(self) -> None:
        with tempfile.TemporaryDirectory() as work:
            for allow_faults in (False, True):
                path = Path(work, str(allow_faults))
                with ammap.Map.open(path, PAGE, allow_faults=allow_faults) as m:
                    m.write(0, b"kept")
                    m.flush()
                with ammap.Map.open(str(path), allow_faults=allow_faults) as m:
                    self.assertEqual((len(m), m.read(0, 4)), (PAGE, b"kept"))
                    m.fill(0)
                    m.discard()
                    m.clone().close()
            Path(work, "other").write_bytes(b"no map" * 1000)
            with self.assertRaises(ammap.FormatError):
                ammap.Map.open(Path(work, "other"), PAGE)
            with self.assertRaises(FileNotFoundError) as caught:
                ammap.Map.open(Path(work, "none"))
            self.assertEqual(caught.exception.filename, str(Path(work, "none")))

    def test_a_writer_dies(self) -> None:
        with ammap.Map(PAGE, share=SHARED) as m:

            def half() -> None:
                m.mut_slice(0, 4).view[0:2] = b"ha"

            def die() -> None:
                held = m.mut_slice(0, 4)
                held.view[0:2] = b"ha"
                os.kill(os.getpid(), signal.SIGKILL)

            self.killed(half)  # its slice was released before
            self.assertEqual(m.read(0, 2, timeout=LONG), b"ha")
            self.killed(die)
            calls: List[Callable[[], Any]] = [m.read, m.slice, lambda: m.fill(0), lambda: m.write(0, b"x", timeout=LONG)]
            for call in calls:
                self.assertRaises(ammap.OwnerDeadError, call)
            self.assertEqual([holder.hold for holder in m.holders()], [ammap.Hold.DEAD])
            held = m.recover_mut_slice()
            self.assertTrue(held.recovered)
            held.view[2:4] = b"lf"
            held.release()
            self.assertEqual(m.read(0, 4), b"half")
            self.killed(die)
            m.recover()
            self.assertFalse(m.recover_mut_slice(0, 1).recovered)

    def test_a_peer_dies(self) -> None:
        here, there = os.pipe()
        with ammap.Map(PAGE, share=SHARED) as m:
            pid = forked(lambda: os.read(here, 1))
            self.assertRaises(ammap.TimeoutError, m.wait_u32, 0, 0, timeout=0.02, pid=pid)
            os.kill(pid, signal.SIGKILL)
            self.assertRaises(ammap.OwnerDeadError, m.wait_u32, 0, 0, timeout=LONG, pid=pid)
            os.waitpid(pid, 0)
        os.close(here)
        os.close(there)

    def test_wake_between_processes(self) -> None:
        with ammap.Map(PAGE, share=SHARED) as m:
            pid = forked(lambda: (m.write(0, b"\1\0\0\0"), m.wake_u32(0)))
            while m.load_u32(0) == 0:
                m.wait_u32(0, 0, timeout=LONG)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_multiprocessing(self) -> None:
        context = multiprocessing.get_context("spawn")
        for share in (SHARED, RAW):
            with ammap.Map(PAGE, share=share, lanes=2) as m:
                process = context.Process(target=write_peer, args=(m,))
                process.start()
                process.join(LONG)
                self.assertEqual(process.exitcode, 0)
                self.assertEqual(m.read(0, 7), b"spawned")
        with ammap.Map(1) as private, self.assertRaises(ammap.UnsupportedError):
            pickle.dumps(private)


if __name__ == "__main__":
    unittest.main()
