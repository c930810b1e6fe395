/* checks.cc - what ammap.hpp promises, as facts that can fail
 *
 * SPDX-License-Identifier: MIT
 *
 * tests/cpp.sh compiles it with each compiler and standard, with exceptions and without.
 */
#include <ammap.hpp>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <type_traits>
#include <fcntl.h>
#include <sys/socket.h>

using ammap::errc;
using ammap::map;

static std::atomic<int> checks, failures;

static void check(bool holds, int line, const char *text)
{
        checks++;
        if (!holds) {
                failures++;
                std::printf("checks.cc:%d: does not hold: %s\n", line, text);
        }
}
#define CHECK(fact) check(static_cast<bool>(fact), __LINE__, #fact)
/* A call is refused, with this code. */
#define REFUSED(call, code)                                                                                            \
        do {                                                                                                           \
                auto refused = (call);                                                                                 \
                check(!refused && refused.error() == (code), __LINE__, #call " is refused with " #code);               \
        } while (0)

/* --- What the types promise --- */

template <class T>
constexpr bool is_move_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                              !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(is_move_only<map> && is_move_only<ammap::u32_view> && is_move_only<ammap::u64_view> &&
              is_move_only<ammap::detached_slice> && is_move_only<ammap::detached_mut_slice> &&
              is_move_only<ammap::descriptor>);
template <class T>
constexpr bool is_pinned = !std::is_move_constructible_v<T> && !std::is_copy_constructible_v<T> &&
                           !std::is_copy_assignable_v<T> && std::is_nothrow_move_assignable_v<T>;
static_assert(is_pinned<ammap::slice> && is_pinned<ammap::mut_slice>);
static_assert(!std::is_move_constructible_v<ammap::expected<ammap::slice>>);
static_assert(std::is_error_code_enum_v<errc>);
static_assert(std::is_same_v<decltype(std::declval<ammap::slice &>().data()), const std::byte *>);
static_assert(std::is_same_v<decltype(std::declval<ammap::mut_slice &>().data()), std::byte *>);
#ifdef __cpp_lib_expected
static_assert(std::is_same_v<decltype(map::create(1)), std::expected<map, std::error_code>>);
#endif
#ifdef __cpp_lib_span
static_assert(std::is_same_v<ammap::bytes, std::span<const std::byte>>);
#endif

static map make(std::uint64_t size, const ammap::options &options = ammap::options())
{
        auto made = map::create(size, options);
        if (!made) {
                std::printf("no map of %llu bytes: %s\n", static_cast<unsigned long long>(size),
                            made.error().message().c_str());
                std::exit(1);
        }
        return std::move(*made);
}

/* What another thread would get. */
template <class F> static auto elsewhere(F work)
{
        std::invoke_result_t<F> result{};
        std::thread([&] { result = work(); }).join();
        return result;
}

static bool can_write(map &m)
{
        return elsewhere([&] { return m.try_as_mut_slice(0, 1).has_value(); });
}

/* --- Errors --- */

static void errors()
{
        static const errc all[] = { errc::invalid,    errc::size,       errc::bounds,   errc::misaligned, errc::busy,
                                    errc::timeout,    errc::deadlock,   errc::owner_dead, errc::read_only,
                                    errc::unsupported, errc::format,    errc::unsealed, errc::fault,      errc::limit };
        for (errc code : all) {
                std::error_code error = code;
                CHECK(&error.category() == &ammap::error_category());
                CHECK(error.message() == ammap_strerror(static_cast<int>(code)));
                CHECK(std::strncmp(ammap_errname(error.value()), "AMMAP_ERR_", 10) == 0);
                CHECK(error == ammap::to_error_code(static_cast<int>(code)));
        }
        /* None is missing: the codes have no gap, and the next one is not known. */
        CHECK(static_cast<int>(all[0]) - static_cast<int>(all[13]) == 13);
        CHECK(std::strcmp(ammap_errname(static_cast<int>(all[13]) - 1), "UNKNOWN") == 0);
        CHECK(std::strcmp(ammap::error_category().name(), "ammap") == 0);

        CHECK(make_error_code(errc::invalid) == std::errc::invalid_argument);
        CHECK(make_error_code(errc::bounds) == std::errc::result_out_of_range);
        CHECK(make_error_code(errc::busy) == std::errc::device_or_resource_busy);
        CHECK(make_error_code(errc::timeout) == std::errc::timed_out);
        CHECK(make_error_code(errc::deadlock) == std::errc::resource_deadlock_would_occur);
        CHECK(make_error_code(errc::owner_dead) == std::errc::owner_dead);
        CHECK(make_error_code(errc::read_only) == std::errc::permission_denied);
        CHECK(make_error_code(errc::unsupported) == std::errc::not_supported);
        CHECK(make_error_code(errc::limit) == std::errc::no_lock_available);
        CHECK(make_error_code(errc::size) != std::errc::invalid_argument);
        CHECK(ammap::to_error_code(-ENOMEM) == std::errc::not_enough_memory);
        CHECK(ammap::to_error_code(-ENOMEM).category() == std::system_category());
        CHECK(!ammap::to_error_code(0) && !ammap::to_error_code(3));

        REFUSED(map::create(0), errc::size);
        REFUSED(map::adopt(nullptr), errc::invalid);
        map none;
        CHECK(!none && !none.get() && none.len() == 0 && none.is_empty() && none.close());
        REFUSED(none.read<int>(0), errc::invalid);
        REFUSED(none.as_slice(0, 0), errc::invalid);
        REFUSED(none.atomic_u32(0), errc::invalid);
        REFUSED(none.clone(), errc::invalid);
        REFUSED(none.wait_u32(0, 0), errc::invalid);

#if AMMAP_HPP_EXCEPTIONS
        try {
                map m = ammap::or_throw(map::create(0));
                CHECK(!m);
        } catch (const std::system_error &error) {
                CHECK(error.code() == errc::size);
        }
        map m = ammap::or_throw(map::create(10));
        ammap::or_throw(m.write(0, 'x'));
        CHECK(ammap::or_throw(m.read<char>(0)) == 'x' && m.read<char>(0).value() == 'x');
        auto slice = ammap::or_throw(m.as_slice(0, 10)); /* in place: it cannot be moved */
        CHECK(slice.size() == 10 && slice[0] == std::byte{ 'x' });
        int caught = 0;
        try {
                ammap::or_throw(m.write(0, 'y'));
        } catch (const std::system_error &error) {
                caught += error.code() == std::errc::resource_deadlock_would_occur;
        }
        try {
                (void)m.write(0, 'y').value();
        } catch (const std::exception &) {
                caught++;
        }
        CHECK(caught == 2);
#endif
}

/* --- Life --- */

static void life()
{
        map m = make(100, ammap::options().capacity(1000).name("checks"));
        CHECK(m && m.get() && m.len() == 100 && !m.is_empty());
        CHECK(m.resize(200) && m.len() == 200);
        REFUSED(m.resize(1001), errc::size);
        auto all = m.stat();
        CHECK(all && all->length == 200 && all->capacity == 1000 && all->slices == 0);
        auto text = m.describe();
        CHECK(text && text->find("200") != std::string::npos && std::strlen(text->c_str()) == text->size());

        map second = m.share();
        CHECK(second.get() == m.get());
        REFUSED(m.close(), errc::busy);
        CHECK(m.release() == nullptr && m);
        CHECK(m.write(0, 7));
        m = map();
        CHECK(!m && second.read<int>(0).value_or(0) == 7);
        map third(std::move(second));
        CHECK(!second && third.len() == 200); // NOLINT: moved from
        ammap_t *handle = third.release();
        CHECK(handle && !third);
        auto again = map::adopt(handle);
        CHECK(again && again->get() == handle && again->close() && !*again);

        auto copy = make(8);
        CHECK(copy.write(0, std::uint64_t{ 5 }));
        auto clone = copy.clone();
        CHECK(clone && clone->write(0, std::uint64_t{ 6 }) && *copy.read<std::uint64_t>(0) == 5);
        CHECK(ammap::trim(0) && std::strcmp(ammap::version(), AMMAP_VERSION) == 0);
}

/* The last slice or view frees the map, in whatever order they go. */
static void a_slice_keeps_its_map()
{
        for (int first = 0; first < 3; first++) {
                ammap::slice slice;
                ammap::u32_view view;
                {
                        map m = make(64);
                        CHECK(m.write(8, std::uint32_t{ 77 }));
                        auto taken = m.as_slice(8, 4);
                        auto word = m.atomic_u32(8);
                        CHECK(taken && word);
                        REFUSED(m.close(), errc::busy);
                        slice = taken->take();
                        view = std::move(*word);
                        CHECK(!*taken && slice && view);
                        if (first == 0)
                                CHECK(slice.release() && slice.release() && !slice);
                        if (first == 1)
                                view.release();
                }
                if (slice)
                        CHECK(slice[0] == std::byte{ 77 } || slice[3] == std::byte{ 77 });
                if (view)
                        CHECK(view->load() == 77);
        }
        CHECK(ammap::collect() == 0);

        /* What the C handle gave out can be in the way; then it is freed later. */
        ammap_slice_t raw;
        {
                map m = make(10);
                CHECK(ammap_as_slice(m.get(), 0, 10, &raw) == 0);
        }
        CHECK(ammap::collect() == 1 && make(1) && ammap::collect() == 1);
        CHECK(raw.data[9] == 0 && ammap_slice_release(&raw) == 0);
        CHECK(ammap::collect() == 0);
}

/* --- Copies --- */

struct point {
        std::int32_t x, y;
};

static void copies()
{
        using namespace std::chrono_literals;
        map m = make(4096);
        std::array<int, 4> numbers = { 1, 2, 3, 4 }, found = {};
        std::vector<char> letters(5);

        CHECK(m.update_region(0, numbers) && m.read_into(0, found) && found == numbers);
        CHECK(m.update_region(100, std::string_view("hello")) && m.read_into(100, letters) && letters[4] == 'o');
        CHECK(m.try_update_region(16, numbers) && m.try_read_into(16, found) && found[3] == 4);
        CHECK(m.update_region(0, "ab", 2) && m.read_into(0, &found, 2) && m.try_read_into(0, &found, 2) &&
              m.timed_read_into(0, &found, 2, 1s) && m.try_update_region(0, "ab", 2) &&
              m.timed_update_region(0, "ab", 2, 5ms));
        CHECK(m.write(200, point{ 3, 4 }) && m.read<point>(200)->y == 4 && m.try_read<point>(200)->x == 3);
        CHECK(m.try_write(200, point{ 5, 6 }) && m.timed_read<point>(200, 1ms)->x == 5);
        CHECK(m.timed_write(200, 9, ammap::for_ever) && *m.load<std::uint32_t>(200) == 9);
        REFUSED(m.read<point>(4089), errc::bounds);
        REFUSED(m.write(4096, 'x'), errc::bounds);
        REFUSED(m.load<std::uint64_t>(4), errc::misaligned);
        CHECK(m.read<char>(4096).value_or('-') == '-');

        CHECK(m.fill(0, 10, std::byte{ 0xff }) && *m.read<unsigned char>(9) == 0xff && *m.read<unsigned char>(10) == 0);
        map other = make(10);
        CHECK(other.copy_from(2, m, 0, 8) && *other.read<unsigned char>(2) == 0xff && *other.read<char>(1) == 0);
        REFUSED(other.copy_from(3, m, 0, 8), errc::bounds);

        auto held = m.as_mut_slice(0, 10);
        CHECK(held);
        auto busy = elsewhere([&] { return m.try_read<int>(0).error(); });
        CHECK(busy == errc::busy);
        CHECK(elsewhere([&] { return m.try_write(0, 1).error(); }) == errc::busy);
        CHECK(elsewhere([&] { return m.timed_read<int>(0, 1ms).error(); }) == errc::timeout);
        CHECK(elsewhere([&] { return m.timed_write(0, 1, 1ms).error(); }) == errc::timeout);
        REFUSED(m.read<int>(0), errc::deadlock);
}

/* --- Slices --- */

static void slices()
{
        using namespace std::chrono_literals;
        map m = make(100);
        {
                auto mut = m.as_mut_slice(10, 20);
                CHECK(mut && mut->size() == 20 && !mut->empty() && !mut->recovered());
                for (std::byte &byte : *mut)
                        byte = std::byte{ 1 };
                mut->span()[0] = std::byte{ 2 };
                REFUSED(m.as_slice(0, 1), errc::deadlock);
                CHECK(elsewhere([&] { return m.try_as_slice(0, 1).error(); }) == errc::busy);
                CHECK(elsewhere([&] { return m.timed_as_slice(0, 1, 1ms).error(); }) == errc::timeout);
                CHECK(elsewhere([&] { return m.timed_as_mut_slice(0, 1, 1ms).error(); }) == errc::timeout);

                auto slice = std::move(*mut).downgrade();
                CHECK(slice && !*mut && slice->size() == 20);
                CHECK(elsewhere([&] { return m.try_as_slice(0, 1).has_value(); }) && !can_write(m));
                int sum = 0;
                for (std::byte byte : *slice)
                        sum += std::to_integer<int>(byte);
                CHECK(sum == 21 && slice->data() + 20 == slice->end());

                /* Within the thread. */
                auto other = slice->take();
                CHECK(!*slice && other.size() == 20);
                ammap::slice third;
                third = std::move(other);
                CHECK(!other && third[0] == std::byte{ 2 }); // NOLINT: moved from
                ammap::slice &alias = third;
                third = std::move(alias);
                CHECK(third && !can_write(m));
                REFUSED(std::move(*mut).downgrade(), errc::invalid);
                REFUSED(std::move(*mut).detach(), errc::invalid);
                CHECK(elsewhere([&] { return third.release().error(); }) == errc::invalid && third);
                third = ammap::slice();
                CHECK(can_write(m));
        }
        CHECK(m.try_as_mut_slice(0, 100));
        CHECK(m.timed_as_mut_slice(0, 100, 1s));
        CHECK(m.try_as_slice(0, 0));
        REFUSED(m.as_slice(0, 101), errc::bounds);
        CHECK(can_write(m) && m.stat()->slices == 0);

        auto sum = m.with_slice(10, 3, [](ammap::bytes bytes) {
                int all = 0;
                for (std::byte byte : bytes)
                        all += std::to_integer<int>(byte);
                return all;
        });
        CHECK(sum && *sum == 4);
        CHECK(m.with_mut_slice(0, 2, [&](ammap::mut_bytes bytes) {
                bytes[1] = std::byte{ 9 };
                CHECK(bytes.size() == 2 && !can_write(m));
        }));
        CHECK(*m.read<char>(1) == 9 && can_write(m));
        REFUSED(m.with_slice(101, 0, [](ammap::bytes bytes) { CHECK(bytes.size() > 101); }), errc::bounds);
#if AMMAP_HPP_EXCEPTIONS
        bool thrown = false;
        try {
                (void)m.with_mut_slice(0, 1, [](ammap::mut_bytes) { throw 1; });
        } catch (int) {
                thrown = true;
        }
        CHECK(thrown && can_write(m));
#endif

        /* A writer that ended: it is of the C calls, for no slice of ammap.hpp ends so. */
        std::thread([&] {
                ammap_mut_slice_t left;
                CHECK(ammap_as_mut_slice(m.get(), 0, 1, &left) == 0);
        }).join();
        REFUSED(m.read<char>(0), errc::owner_dead);
        {
                auto taken = m.recover_as_mut_slice(0, 1);
                CHECK(taken && taken->recovered());
        }
        CHECK(m.read<char>(0) && m.recover() && !m.recover_as_mut_slice(0, 1)->recovered());
}

static void detached_slices_go_to_threads()
{
        map m = make(100);
        auto slice = m.as_slice(0, 10);
        auto detached = std::move(*slice).detach();
        CHECK(detached && !*slice && detached->size() == 10);
        CHECK(!can_write(m));
        std::thread([own = std::move(*detached)]() mutable {
                CHECK(own.size() == 10 && own[0] == std::byte{ 0 });
        }).join();
        CHECK(can_write(m));

        /* It has the map, too. */
        ammap::detached_mut_slice last;
        {
                map gone = make(10);
                auto mut = gone.as_mut_slice(0, 10);
                auto made = std::move(*mut).detach();
                CHECK(made);
                last = std::move(*made);
        }
        last[9] = std::byte{ 1 };
        std::thread([own = std::move(last)]() mutable { own.release(); }).join();
        CHECK(!last && ammap::collect() == 0); // NOLINT: moved from
}

/* What the compiler cannot see: a slice behind a pointer to something else. */
struct job {
        ammap::expected<ammap::mut_slice> slice;
};

static std::unique_ptr<job> new_job(map &m)
{
        return std::unique_ptr<job>(new job{ m.as_mut_slice(0, 10) });
}

static void a_slice_that_ends_elsewhere_is_its_threads()
{
        map m = make(100);
        {
                auto one = new_job(m);
                CHECK(one->slice);
                std::thread([&, own = std::move(one)]() mutable {
                        auto detached = std::move(*own->slice).detach();
                        CHECK(!detached && detached.error() == errc::invalid);
                        auto slice = std::move(*own->slice).downgrade();
                        CHECK(!slice && slice.error() == errc::invalid);
                        own.reset();
                        CHECK(m.try_read<char>(0).error() == errc::busy);
                }).join();
                CHECK(m.stat()->slices == 1);
                map other = make(1);
                CHECK(other.as_slice(0, 1)); /* any slice will do */
                CHECK(m.stat()->slices == 0 && can_write(m));
        }
        /* Its thread ends after that: the lane is not in the state of a dead writer. */
        std::thread([&] {
                auto two = new_job(m);
                std::thread([own = std::move(two)]() mutable { own.reset(); }).join();
                CHECK(m.stat()->slices == 1);
        }).join();
        CHECK(m.stat()->slices == 0 && m.read<char>(0));
        /* ... and before: that is a dead writer. */
        auto three = elsewhere([&] { return new_job(m); });
        REFUSED(m.read<char>(0), errc::owner_dead);
        auto mine = m.recover_as_mut_slice(0, 10);
        CHECK(mine && mine->recovered());
        three.reset();
        CHECK(*mine && m.stat()->slices == 1);
        *mine = ammap::mut_slice();
        /* Many threads send to one. */
        for (int round = 0; round < 50; round++) {
                std::vector<std::unique_ptr<job>> jobs;
                std::vector<std::thread> threads;
                map lanes = make(8, ammap::options().lanes(8));
                for (unsigned i = 0; i < 8; i++)
                        jobs.push_back(std::unique_ptr<job>(new job{ lanes.as_mut_slice(i, 1) }));
                for (auto &one : jobs)
                        threads.emplace_back([own = std::move(one)]() mutable { own.reset(); });
                for (auto &thread : threads)
                        thread.join();
                CHECK(lanes.stat()->slices == 8 && m.as_slice(0, 1) && lanes.stat()->slices == 0);
        }
        /* The map ends before its slice comes back. */
        {
                map gone = make(10);
                auto four = new_job(gone);
                std::thread([own = std::move(four)]() mutable { own.reset(); }).join();
        }
        CHECK(m.as_slice(0, 1) && ammap::collect() == 0);
}

static void many_threads_own_one_map()
{
        std::vector<std::thread> threads;
        {
                map m = make(64);
                for (int i = 0; i < 4; i++)
                        threads.emplace_back([own = m.share()]() mutable {
                                for (int n = 0; n < 2000; n++) {
                                        auto slice = own.as_slice(0, 8);
                                        CHECK(slice.has_value());
                                }
                                auto view = own.atomic_u64(0);
                                own = map();
                                ++**view;
                        });
        }
        for (auto &thread : threads)
                thread.join();
        CHECK(ammap::collect() == 0);
}

/* --- Lanes, views, waiting --- */

static void lanes_and_holders()
{
        map m = make(100, ammap::options().lanes(2));
        CHECK(m.lane(60)->offset == 50 && m.lane(60)->length == 50);
        REFUSED(m.lane(100), errc::bounds);
        CHECK(m.holders(0, 100)->empty());
        auto slice = m.as_slice(0, 1);
        auto mut = m.as_mut_slice(50, 1);
        auto all = m.holders(0, 100);
        CHECK(all && all->size() == 2 && *m.holders(0, 100, nullptr, 0) == 2);
        CHECK((*all)[0].hold != (*all)[1].hold);
        REFUSED(m.holders(101, 1), errc::bounds);
}

static void views()
{
        map m = make(64);
        auto one = m.atomic_u32(0);
        auto row = m.atomic_u64(8, 4);
        CHECK(one && one->size() == 1 && row && row->size() == 4 && !row->empty());
        CHECK((*one)->fetch_add(5) == 0 && ++**one == 6 && *m.load<std::uint32_t>(0) == 6);
        (*row)[3].store(7);
        std::uint64_t sum = 0;
        for (auto &number : *row)
                sum += number.load();
        CHECK(sum == 7 && row->data() == row->begin());
        ammap::u64_view moved = std::move(*row);
        CHECK(!*row && moved[3] == 7);
        REFUSED(m.atomic<std::uint32_t>(2), errc::misaligned);
        REFUSED(m.atomic_u64(64), errc::bounds);
        std::thread([own = std::move(moved)]() mutable { own.release(); }).join();
        REFUSED(m.freeze(), errc::busy);
        one->release();
        CHECK(m.stat()->views == 0 && m.freeze());
        REFUSED(m.write(0, 1), errc::read_only);
}

static void waiting()
{
        using namespace std::chrono_literals;
        map m = make(64);
        std::uint64_t generation = 0;
        CHECK(m.wait_change(0, 8, generation) && generation != 0);
        REFUSED(m.wait_change(0, 8, generation, 1ms), errc::timeout);
        CHECK(m.write(0, 1) && m.wait_change(0, 8, generation, 10s));
        REFUSED(m.wait_u32(0, 1, 1ms), errc::timeout);
        CHECK(m.wait_u32(0, 2));
        REFUSED(m.wait_u32_peer(0, 1, 0), errc::invalid);

        /* Who sleeps owns the map that it sleeps on. */
        std::atomic<bool> woken{ false };
        auto word = m.atomic_u32(8);
        map shared = m.share();
        std::thread sleeper([&] {
                while (word->data()->load() == 0)
                        CHECK(shared.wait_u32(8, 0));
                woken = true;
        });
        (*word)->store(1);
        while (!woken)
                CHECK(m.wake_u32(8, 1).has_value());
        sleeper.join();
        REFUSED(m.wake_u32(8, -1), errc::invalid);
}

/* --- Memory --- */

static void memory()
{
        map m = make(8192);
        CHECK(m.populate(0, 8192) && m.advise(0, 8192, ammap::advice::sequential));
        CHECK(m.write(0, 1) && m.discard(0, 8192) && *m.read<int>(0) == 0);
        CHECK(m.as_ptr() == m.as_mut_ptr() && m.as_ptr());
        auto locked = m.mlock(0, 1);
        CHECK(!locked || m.munlock(0, 1));
        CHECK(m.is_hugepage_backed() || m.is_hugepage_backed().error());
        REFUSED(m.flush(0, 1), errc::unsupported);
        REFUSED(m.fd(), errc::unsupported);
        REFUSED(m.populate(8193, 0), errc::bounds);

        ammap::options options;
        options.fork(ammap::forking::omit).huge(ammap::want::attempt).populate(ammap::want::attempt);
        options.lock(ammap::want::no).guard(ammap::want::attempt).nodump(ammap::want::attempt);
        options.noreserve(ammap::want::attempt).secret(ammap::want::no).recycle(ammap::want::attempt);
        const ammap_options_t *c = options.c_options();
        CHECK(c->fork == AMMAP_FORK_OMIT && c->huge == AMMAP_TRY && c->populate == AMMAP_TRY && c->guard == AMMAP_TRY &&
              c->nodump == AMMAP_TRY && c->noreserve == AMMAP_TRY && c->recycle == AMMAP_TRY && c->lock == AMMAP_NO);
        CHECK(make(100, options).len() == 100);
        options.recycle(ammap::want::must);
        REFUSED(map::create(1, options), errc::invalid);
        ammap_options_t plain = AMMAP_OPTIONS_INIT;
        plain.lanes = 3;
        CHECK(make(100, plain).stat()->lanes == 3);
}

/* --- Sharing --- */

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void sharing()
{
        auto options = ammap::options().share(ammap::sharing::shared);
        auto made = map::create(100, options);
        if (!made && made.error() == errc::unsupported) {
                std::printf("no maps are shared here\n");
                return;
        }
        map m = std::move(*made);
        CHECK(m.write(0, 42));
        {
                auto fd = m.export_fd(ammap::rights::read_write);
                CHECK(fd && fd->get() >= 3);
                auto peer = map::import_fd(fd->get());
                CHECK(peer && *peer->read<int>(0) == 42 && peer->write(0, 43) && *m.read<int>(0) == 43);
                int number = fd->get();
                fd->operator=(ammap::descriptor());
                CHECK(!is_open(number));
                auto reader = map::import_fd(*m.fd(), ammap::options().read_only());
                CHECK(reader && *reader->read<int>(0) == 43);
                REFUSED(reader->write(0, 1), errc::read_only);
        }
        int ends[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        ammap::descriptor here(ends[0]), there(ends[1]);
        CHECK(m.send(here.get()));
        auto received = map::recv(there.get());
        CHECK(received && *received->read<int>(0) == 43);
        CHECK(m.flush(0, 4) && m.seal(ammap::seals::grow | ammap::seals::shrink));
        CHECK(m.export_fd(ammap::rights::read) && !m.export_fd(ammap::rights::read_write));

        /* The last slice closes the descriptor. */
        ammap::slice slice;
        int fd = *m.fd();
        {
                auto taken = m.as_slice(0, 4);
                CHECK(taken);
                slice = taken->take();
        }
        m = map();
        CHECK(is_open(fd));
        slice = ammap::slice();
        CHECK(!is_open(fd));

        std::string path = "checks.map";
        REFUSED(map::open(path), std::errc::no_such_file_or_directory);
        auto file = map::open(path, 64, ammap::options().allow_faults());
        CHECK(file && file->write(0, 5));
        auto again = map::open("checks.map", 0, ammap::options().allow_faults());
        CHECK(again && *again->read<int>(0) == 5);
        CHECK(std::remove("checks.map") == 0);
}

int main()
{
        errors();
        life();
        a_slice_keeps_its_map();
        copies();
        slices();
        detached_slices_go_to_threads();
        a_slice_that_ends_elsewhere_is_its_threads();
        many_threads_own_one_map();
        lanes_and_holders();
        views();
        waiting();
        memory();
        sharing();
        std::printf("%d checks, %d failed\n", checks.load(), failures.load());
        return failures != 0;
}
