# SPDX-License-Identifier: MIT
"""Maps between the threads of a process: what the user of one sees."""
import array
import builtins
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Callable, List

import ammap

# A hang is a failure.
faulthandler.dump_traceback_later(120, exit=True)

PAGE = 4096
LONG = 60.0  # seconds that no test needs


def until(condition: Callable[[], Any]) -> None:
    """Wait for an event that has no call to wait for it."""
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it never happened")
        time.sleep(0.001)


def in_thread(body: Callable[[], Any]) -> Any:
    """What the body returns in another thread."""
    results: List[Any] = []
    thread = threading.Thread(target=lambda: results.append(body()), daemon=True)
    thread.start()
    thread.join(LONG)
    return results[0]


def raised(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The class of what the call raises."""
    try:
        call(*arguments, **options)
    except Exception as error:  # pylint: disable=broad-except
        return type(error)
    return None


class Copies(unittest.TestCase):
    """Bytes in and out."""

    def setUp(self) -> None:
        self.map = ammap.Map(PAGE, capacity=4 * PAGE, lanes=2, name="copies")
        self.addCleanup(self.map.close)

    def test_bytes(self) -> None:
        m = self.map
        self.assertEqual(m.write(10, b"hello"), 5)
        self.assertEqual(m.read(10, 5), b"hello")
        self.assertEqual(len(m.read()), PAGE)
        into = bytearray(3)
        self.assertEqual(m.readinto(11, into), 3)
        self.assertEqual(into, b"ell")
        self.assertEqual(m.read(PAGE, 0), b"")

    def test_any_buffer_is_written(self) -> None:
        words = array.array("I", [1, 2])
        given: List[Any] = [bytearray(b"abcd"), memoryview(b"abcd"), words, memoryview(bytearray(b"12"))]
        for data in given:
            self.map.write(0, data)
            raw = bytes(memoryview(data))
            self.assertEqual(self.map.read(0, len(raw)), raw)
        with self.assertRaises(TypeError):
            self.map.write(0, "text")
        with self.assertRaises(BufferError):
            self.map.write(0, memoryview(b"abcdef")[::2])
        with self.assertRaises(BufferError):
            self.map.readinto(0, b"constant")

    def test_index(self) -> None:
        m = self.map
        m[0:5] = b"hello"
        m[1] = 69
        m[-1] = 7
        self.assertEqual((m[0:5], m[1], m[PAGE - 1]), (b"hEllo", 69, 7))
        with self.assertRaises(IndexError):
            m[PAGE]
        with self.assertRaises(ValueError):
            m[0:5] = b"four"
        with self.assertRaises(ValueError):
            m[0:4:2]

    def test_what_is_out_of_bounds(self) -> None:
        m = self.map
        for offset, length in ((0, PAGE + 1), (PAGE, 1), (-1, 1), (0, -1), (2**64, 1), (2**64 - 1, 2), (2**70, 0)):
            calls: List[Callable[..., Any]] = [m.read, m.slice, m.mut_slice, m.discard, m.holders]
            for call in calls:
                with self.assertRaises(ammap.BoundsError, msg=f"{call} {offset} {length}"):
                    call(offset, length)
        for offset in (-1, PAGE, 2**64):
            with self.assertRaises(IndexError):
                m.write(offset, b"x")
        with self.assertRaises(ammap.MisalignedError):
            m.load_u32(2)
        self.assertEqual(m.read(), bytes(PAGE))

    def test_fill_copy_clone_resize(self) -> None:
        m = self.map
        m.fill(97, 0, 4)
        m.copy_from(4, m, 0, 4)
        with m.clone() as copy:
            m.resize(2 * PAGE)
            m.discard(0, 2)
            self.assertEqual(copy.read(0, 9), b"a" * 8 + b"\0")
            copy.copy_from(0, m, 0, 4)
            self.assertEqual(copy.read(0, 4), b"\0\0aa")
        self.assertEqual(len(m), 2 * PAGE)
        with self.assertRaises(ammap.SizeError):
            m.resize(5 * PAGE)
        with self.assertRaises(OverflowError):
            m.fill(256)

    def test_what_it_is(self) -> None:
        stat = self.map.stat()
        self.assertEqual((stat.length, stat.capacity, stat.lanes), (PAGE, 4 * PAGE, 2))
        self.assertIs(stat.share, ammap.Share.PRIVATE)
        self.assertEqual(self.map.lane(0), (0, 2 * PAGE if len(self.map) > 2 * PAGE else PAGE))
        self.assertIn("copies", repr(self.map))
        self.map.freeze()
        self.assertIs(self.map.stat().why_read_only, ammap.Why.FROZEN)
        with self.assertRaises(ammap.ReadOnlyError):
            self.map.write(0, b"x")

    def test_pages(self) -> None:
        m = self.map
        m.populate()
        m.advise(ammap.Advice.RANDOM)
        self.assertIn(m.is_hugepage_backed(), (False, True))
        with self.assertRaises(ammap.UnsupportedError):
            m.flush()
        with self.assertRaises(ammap.UnsupportedError):
            m.fileno()
        try:
            m.mlock(0, 1)
            m.munlock(0, 1)
        except OSError:
            pass  # RLIMIT_MEMLOCK
        ammap.trim()

    def test_errors(self) -> None:
        with self.assertRaises(ammap.Error) as caught:
            ammap.Map(0)
        self.assertEqual((caught.exception.code, caught.exception.name), (-10002, "AMMAP_ERR_SIZE"))
        self.assertIsInstance(caught.exception, OSError)
        for size in (-1, 2**64, 2**70):
            with self.assertRaises(ammap.SizeError):
                ammap.Map(size)
        with self.assertRaises(FileNotFoundError):
            ammap.Map.open("/no/such/file")
        with self.assertRaises(TypeError):
            ammap.Map(1, no_such_option=1)  # type: ignore[call-arg]
        with self.assertRaises(ammap.InvalidError):
            ammap.Map(1, huge=7)
        for timeout in (-1, float("nan")):
            with self.assertRaises(ValueError):
                self.map.read(0, 1, timeout=timeout)

    def test_closed(self) -> None:
        with ammap.Map(1) as m:
            self.assertFalse(m.closed)
        m.close()
        self.assertTrue(m.closed)
        calls: List[Callable[[], Any]] = [m.read, m.stat, m.slice, m.describe]
        for call in calls:
            with self.assertRaises(ValueError):
                call()


class Slices(unittest.TestCase):
    """Slices, and how long they live."""

    def setUp(self) -> None:
        self.map = ammap.Map(2 * PAGE, lanes=2)
        self.addCleanup(self.map.close)

    def test_bytes(self) -> None:
        with self.map.mut_slice(0, 5) as view:
            view[:] = b"hello"
        with self.map.slice(0, 5) as view:
            self.assertTrue(view.readonly)
            self.assertEqual(bytes(view), b"hello")
            self.assertEqual(self.map.read(0, 2), b"he")
        with self.assertRaises(ValueError):
            view[0]
        with self.map.slice(PAGE, 0) as view:
            self.assertEqual(len(view), 0)

    def test_others_are_kept_away(self) -> None:
        with self.map.mut_slice(0, 1):
            self.assertIs(in_thread(lambda: raised(self.map.read, 0, 1, timeout=0)), ammap.BusyError)
            self.assertIs(in_thread(lambda: raised(self.map.slice, 0, 1, timeout=0.15)), ammap.TimeoutError)
            self.assertEqual(in_thread(lambda: self.map.write(PAGE, b"other lane")), 10)
            (holder,) = self.map.holders(0, 1)
            self.assertIs(holder.hold, ammap.Hold.WRITE)
        self.assertEqual(self.map.holders(), [])

    def test_own_block_is_no_hang(self) -> None:
        m = self.map
        calls: List[Callable[[], Any]] = [
            lambda: m.read(0, 1),
            lambda: m.write(0, b"x"),
            lambda: m.write(0, b"x", timeout=0),
            lambda: m.slice(0, 1),
            lambda: m.fill(0),
            lambda: m.copy_from(PAGE, m, 0, 1),
            lambda: m.recover_mut_slice(0, 1),
            m.clone,
            m.freeze,
            m.discard,
        ]
        with m.mut_slice(0, 1):
            for call in calls:
                self.assertRaises(ammap.DeadlockError, call)
            m.fill(1, PAGE)
        for call in calls:
            if call != m.freeze:
                call()

    def test_a_thread_waits_for_a_slice(self) -> None:
        held = self.map.mut_slice(0, 1)
        thread = threading.Thread(target=lambda: self.map.write(0, b"w"))
        thread.start()
        held.view[0] = 1
        threading.Thread(target=held.release).start()  # any thread may
        thread.join(LONG)
        self.assertEqual(self.map.read(0, 1), b"w")

    def test_a_buffer_outlives_its_block(self) -> None:
        m = self.map
        with self.assertRaises(BufferError):
            with m.mut_slice(0, 4) as view:
                part = view[1:3]
        part[0] = 7  # the memory is there, and locked
        self.assertRaises(ammap.BusyError, m.read, 0, 1, timeout=0)
        self.assertRaises(ammap.BusyError, m.close)
        del part
        self.assertEqual(m.read(0, 2, timeout=0), b"\0\7")

    def test_an_exception_goes_before_the_buffer(self) -> None:
        with self.assertRaises(KeyError):
            with self.map.slice() as view:
                part = view[0:1]
                raise KeyError
        self.assertEqual(bytes(part), b"\0")
        del part

    def test_a_buffer_outlives_its_map(self) -> None:
        m = ammap.Map(PAGE)
        part = m.mut_slice().view[10:20]
        m.__exit__(KeyError, None, None)
        del m
        gc.collect()
        part[:] = b"0123456789"
        self.assertEqual(bytes(part), b"0123456789")

    def test_the_collector_releases_in_another_thread(self) -> None:
        class Knot:
            """A cycle that has a slice."""

        def tie() -> None:
            knot: Any = Knot()
            knot.self, knot.slice = knot, self.map.mut_slice(0, 1)

        gc.disable()
        self.addCleanup(gc.enable)
        tie()
        self.assertRaises(ammap.BusyError, self.map.read, 0, 1, timeout=0)
        in_thread(gc.collect)
        self.assertEqual(self.map.read(0, 1, timeout=0), b"\0")

    def test_a_finalizer_in_a_cycle_finds_the_memory(self) -> None:
        seen: List[bytes] = []

        class Last:
            """Looks at its buffer when it is collected."""

            def __del__(self) -> None:
                seen.append(bytes(self.view))  # type: ignore[attr-defined]

        m = ammap.Map(PAGE)
        m.write(0, b"last")
        held = m.slice(0, 4)  # first: the collector calls finalizers in the order of birth
        knots: Any = [Last() for _ in range(8)]
        for knot in knots:
            knot.knots, knot.view = knots, held.view
        del m, held, knot, knots
        gc.collect()
        self.assertEqual(seen, [b"last"] * 8)

    def test_the_end_of_a_thread_ends_no_slice(self) -> None:
        held = in_thread(lambda: self.map.mut_slice(0, 3))
        held.view[:] = b"abc"
        self.assertRaises(ammap.BusyError, self.map.read, 0, 1, timeout=0)
        held.release()
        self.assertEqual(self.map.read(0, 3), b"abc")
        self.assertRaises(ValueError, lambda: held.view)

    def test_close_while_others_read(self) -> None:
        m = ammap.Map(1 << 20)
        reading, seen = threading.Event(), []

        def read() -> None:
            try:
                while True:
                    m.read()
                    reading.set()
            except ValueError as error:
                seen.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        reading.wait(LONG)
        m.close()
        for thread in threads:
            thread.join(LONG)
        self.assertEqual(len(seen), 4)

    def test_numpy(self) -> None:
        try:
            import numpy  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("there is no numpy here")
        with self.assertRaises(BufferError):
            with self.map.mut_slice(0, 16) as view:
                numbers = numpy.frombuffer(view, dtype=numpy.uint32)
                numbers[:] = 3
        self.assertRaises(ammap.BusyError, self.map.read, 0, 1, timeout=0)
        del numbers
        self.assertEqual(self.map.read(0, 16, timeout=0), b"\3\0\0\0" * 4)


class Words(unittest.TestCase):
    """Atomics, and sleeping on them."""

    def setUp(self) -> None:
        self.map = ammap.Map(PAGE)
        self.addCleanup(self.map.close)

    def view(self, name: str, *arguments: int) -> Any:
        try:
            return getattr(self.map, name)(*arguments)
        except ammap.UnsupportedError as error:
            self.skipTest(str(error))

    def test_atomics(self) -> None:
        for name, size in (("u32", 4), ("u64", 8)):
            top = (1 << 8 * size) - 1
            with self.view(name, 8, 2) as words:
                words[0] = 5
                self.assertEqual(words.add(2), 5)
                self.assertEqual(words.exchange(top), 7)
                self.assertTrue(words.cas(top, 1))
                self.assertFalse(words.cas(top, 2))
                self.assertEqual(words.add(-2), 1)
                self.assertEqual((words.load(), words[-1], len(words)), (top, 0, 2))
                self.assertEqual(getattr(self.map, f"load_{name}")(8), top)
                for index in (2, -3):
                    self.assertRaises(IndexError, words.load, index)
                self.assertRaises(OverflowError, words.store, top + 1)
                self.assertRaises(ammap.BusyError, self.map.close)
            self.assertRaises(ValueError, words.load)

    def test_threads_count(self) -> None:
        words = self.view("u64", 0)

        def count() -> None:
            for _ in range(2000):
                words.add(1)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        self.assertEqual(words[0], 8000)
        words.release()

    def test_wait_and_wake(self) -> None:
        m = self.map
        self.assertRaises(ammap.TimeoutError, m.wait_u32, 0, 0, timeout=0.15)
        self.assertRaises(ammap.TimeoutError, m.wait_u32, 0, 0, timeout=0)
        m.wait_u32(0, 1)
        thread = threading.Thread(target=lambda: m.wait_u32(0, 0, timeout=LONG))
        thread.start()
        m.write(0, b"\1\0\0\0")
        m.wake_u32(0)
        thread.join(LONG)
        self.assertFalse(thread.is_alive())

    def test_wait_change(self) -> None:
        m = self.map
        first = m.wait_change(0, 8)
        self.assertRaises(builtins.TimeoutError, m.wait_change, 0, 8, first, timeout=0.15)
        thread = threading.Thread(target=lambda: m.write(0, b"x"))
        thread.start()
        self.assertNotEqual(m.wait_change(0, 8, first, timeout=LONG), first)
        thread.join(LONG)


class Interrupts(unittest.TestCase):
    """Ctrl-C ends each wait."""

    def setUp(self) -> None:
        # A shell's background job is started with the signal ignored, and Python leaves it so.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def interrupt(self, wait: Callable[[], Any]) -> None:
        main, stat = threading.get_ident(), Path(f"/proc/self/task/{threading.get_native_id()}/stat")

        def sleeps() -> bool:
            """In the library's call: not there to wait for the interpreter's lock, which is free meanwhile."""
            for _ in range(3):
                frame = sys._current_frames()[main]
                callers = [frame.f_code.co_name, frame.f_back and frame.f_back.f_code.co_name]
                if "sleep" not in callers or stat.read_text().split()[2] != "S":
                    return False
                time.sleep(0.001)
            return True

        def interrupt() -> None:
            until(sleeps)
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        with self.assertRaises(KeyboardInterrupt):
            thread.start()
            wait()
        thread.join(LONG)

    def test_interrupts(self) -> None:
        m = ammap.Map(PAGE)
        generation = m.wait_change()
        self.interrupt(lambda: m.wait_u32(0, 0))
        self.interrupt(lambda: m.wait_u32(0, 0, timeout=LONG))
        self.interrupt(lambda: m.wait_u32(0, 0, pid=os.getpid()))
        self.interrupt(lambda: m.wait_change(generation=generation))
        held = m.mut_slice()
        waits: List[Callable[[], Any]] = [m.read, m.slice, m.mut_slice, m.clone, m.freeze, m.discard]
        for wait in [*waits, lambda: m.fill(0), lambda: m[0:2], lambda: m.write(0, b"x")]:
            self.interrupt(wait)
        held.release()
        self.assertEqual(m.read(0, 1, timeout=0), b"\0")
        m.close()


if __name__ == "__main__":
    unittest.main()
