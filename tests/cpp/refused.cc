/* refused.cc - what does not compile with ammap.hpp
 *
 * SPDX-License-Identifier: MIT
 *
 * tests/cpp.sh compiles it once as it is, without a case, which must compile, and once for
 * each "case" below, which must not: the message says what stands behind the name.
 */
#include <ammap.hpp>

#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

void refused(ammap::map &map, ammap::slice &slice, ammap::mut_slice &mut, ammap::u32_view &view);

static void work(const ammap::slice &slice)
{
        static_cast<void>(slice);
}

void refused(ammap::map &map, ammap::slice &slice, ammap::mut_slice &mut, ammap::u32_view &view)
{
        work(slice);
        static_cast<void>(map);
        static_cast<void>(mut);
        static_cast<void>(view);
#if defined(MOVE)     /* case MOVE: deleted */
        ammap::slice other = std::move(slice);
#elif defined(THREAD) /* case THREAD: arguments|deleted|no matching|could not convert */
        std::thread other(work, std::move(slice));
#elif defined(LAMBDA) /* case LAMBDA: arguments|deleted|no matching|could not convert */
        std::thread other([own = slice.take()] { work(own); });
#elif defined(TAKEN)  /* case TAKEN: arguments|deleted|no matching|could not convert */
        std::thread other(work, slice.take());
#elif defined(RESULT) /* case RESULT: arguments|deleted|no matching|could not convert */
        std::thread other([own = map.as_slice(0, 1)] { work(*own); });
#elif defined(ASYNC)  /* case ASYNC: deleted|no matching|could not convert */
        auto other = std::async(std::launch::async, work, std::move(slice));
#elif defined(TASK)   /* case TASK: deleted|no matching */
        std::packaged_task<void()> other([own = mut.take()] {});
#elif defined(JTHREAD) && defined(__cpp_lib_jthread) /* case JTHREAD: arguments|deleted|no matching|could not convert */
        std::jthread other(work, std::move(slice));
#elif defined(JTHREAD)
        std::jthread_is_not_here other;
#elif defined(UNIQUE) /* case UNIQUE: deleted */
        std::unique_ptr<ammap::slice> other(new ammap::slice(slice.take()));
#elif defined(MAKE_UNIQUE) /* case MAKE_UNIQUE: deleted */
        auto other = std::make_unique<ammap::slice>(slice.take());
#elif defined(SHARED) /* case SHARED: deleted|no matching */
        auto other = std::make_shared<ammap::slice>(slice.take());
#elif defined(VECTOR) /* case VECTOR: deleted|no matching */
        std::vector<ammap::mut_slice>().push_back(std::move(mut));
#elif defined(OPTIONAL) /* case OPTIONAL: deleted|no (viable )?(matching )?|conversion */
        std::optional<ammap::mut_slice> other(std::move(mut));
#elif defined(DETACH) /* case DETACH: qualifiers|lvalue|rvalue */
        auto other = slice.detach();
#elif defined(DOWNGRADE) /* case DOWNGRADE: no matching */
        auto other = std::move(slice).downgrade();
#elif defined(COPY_MAP) /* case COPY_MAP: deleted|private */
        ammap::map other = map;
#elif defined(COPY_VIEW) /* case COPY_VIEW: deleted */
        ammap::u32_view other = view;
#elif defined(COPY_DETACHED) /* case COPY_DETACHED: deleted */
        auto detached = std::move(mut).detach();
        ammap::detached_mut_slice other = *detached;
#elif defined(WRITE) /* case WRITE: read-only|const */
        slice[0] = std::byte{ 1 };
#elif defined(CONST) /* case CONST: qualifiers|const|no matching member function */
        const ammap::map &other = map;
        auto rc = other.write(0, 1);
#elif defined(DANGLING) /* case DANGLING: deleted */
        auto *other = slice.take().data();
#elif defined(SPAN) /* case SPAN: deleted */
        auto other = slice.take().span();
#elif defined(POINTER) /* case POINTER: trivially copyable types, and no pointers */
        auto rc = map.write(0, &map);
#elif defined(PLAIN) /* case PLAIN: trivially copyable types, and no pointers */
        auto rc = map.write(0, std::vector<int>());
#elif defined(LITERAL) /* case LITERAL: no matching */
        auto rc = map.update_region(0, "with its zero or without?");
#elif defined(DROPPED) /* case DROPPED: nodiscard */
        map.write(0, 1);
#elif defined(DROPPED_SLICE) /* case DROPPED_SLICE: nodiscard */
        map.as_slice(0, 1);
#elif defined(WORD) /* case WORD: incomplete|undefined */
        auto other = map.atomic<int>(0);
#endif
}
