/* ammap.hpp - anonymous memory mappings for C++17 and later
 *
 * SPDX-License-Identifier: MIT
 *
 * Classes over the calls of ammap.h, in this header alone: link with -lammap.
 *
 *      ammap::map map = ammap::or_throw(ammap::map::create(4096));
 *      ammap::or_throw(map.write(0, 42));
 *      auto slice = map.as_slice(0, 4);
 *      if (!slice)
 *              return slice.error();
 *      consume(slice->data(), slice->size());
 *
 * Units     Offsets, lengths and sizes are in bytes.  Timeouts are std::chrono durations;
 *           less than 0 is for ever.
 * Results   A call that can fail returns ammap::expected<T> and throws nothing.  That is
 *           std::expected<T, std::error_code> where <expected> has it, else a class with
 *           the same members.  or_throw() makes of it the value, or std::system_error.
 *           The codes are those of the call of the same name in ammap.h: AMMAP_ERR_BUSY
 *           is ammap::errc::busy, and an errno is of std::system_category().
 * Life      A map, its slices and its views own the C handle together; ammap_free is
 *           called when the last of them goes.  So no map ends under a slice.
 * Threads   A slice is of the thread that took it.  It has no move constructor, and so no
 *           std::thread, std::async or lambda takes it along.  std::move(slice).detach()
 *           makes a detached_slice of it, which any thread may have and release.  Within
 *           its thread a slice is moved by take() and by assignment.  Maps and views go
 *           anywhere.  As any object, none may be destroyed or assigned to by one thread
 *           while another one uses it.
 *
 * It needs neither exceptions nor RTTI: without exceptions there is no or_throw().
 * ammap.hpp(3) describes it; ammap(7) describes the model.
 */
#ifndef AMMAP_HPP
#define AMMAP_HPP

#if __cplusplus < 201703L
#error "ammap.hpp needs C++17"
#endif

#include <ammap.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>
#include <unistd.h>

#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#ifdef __cpp_lib_expected
#include <expected>
#endif

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define AMMAP_HPP_EXCEPTIONS 1
#else
#define AMMAP_HPP_EXCEPTIONS 0
#endif

/* One category, and one notion of which thread this is, also for libraries that hide their
 * symbols. */
#if defined(__GNUC__) || defined(__clang__)
#define AMMAP_HPP_SHARED __attribute__((visibility("default")))
#else
#define AMMAP_HPP_SHARED
#endif

namespace ammap AMMAP_HPP_SHARED
{

/* --- Errors ------------------------------------------------------------- */

/* The codes of ammap.h, with their values. */
enum class errc : int {
        invalid = AMMAP_ERR_INVALID,
        size = AMMAP_ERR_SIZE,
        bounds = AMMAP_ERR_BOUNDS,
        misaligned = AMMAP_ERR_MISALIGNED,
        busy = AMMAP_ERR_BUSY,
        timeout = AMMAP_ERR_TIMEOUT,
        deadlock = AMMAP_ERR_DEADLOCK,
        owner_dead = AMMAP_ERR_OWNER_DEAD,
        read_only = AMMAP_ERR_READ_ONLY,
        unsupported = AMMAP_ERR_UNSUPPORTED,
        format = AMMAP_ERR_FORMAT,
        unsealed = AMMAP_ERR_UNSEALED,
        fault = AMMAP_ERR_FAULT,
        limit = AMMAP_ERR_LIMIT,
};

namespace detail
{

class category final : public std::error_category
{
      public:
        const char *name() const noexcept override
        {
                return "ammap";
        }

        std::string message(int code) const override
        {
                return ammap_strerror(code);
        }

        /* What std::errc has a name for compares equal to it. */
        std::error_condition default_error_condition(int code) const noexcept override
        {
                switch (code) {
                case AMMAP_ERR_INVALID:
                        return std::errc::invalid_argument;
                case AMMAP_ERR_BOUNDS:
                        return std::errc::result_out_of_range;
                case AMMAP_ERR_BUSY:
                        return std::errc::device_or_resource_busy;
                case AMMAP_ERR_TIMEOUT:
                        return std::errc::timed_out;
                case AMMAP_ERR_DEADLOCK:
                        return std::errc::resource_deadlock_would_occur;
                case AMMAP_ERR_OWNER_DEAD:
                        return std::errc::owner_dead;
                case AMMAP_ERR_READ_ONLY:
                        return std::errc::permission_denied;
                case AMMAP_ERR_UNSUPPORTED:
                        return std::errc::not_supported;
                case AMMAP_ERR_LIMIT:
                        return std::errc::no_lock_available;
                default:
                        return std::error_condition(code, *this);
                }
        }
};

} // namespace detail

/* The category of errc.  Its name is "ammap", its messages are those of ammap_strerror. */
inline const std::error_category &error_category() noexcept
{
        static const detail::category the_one;
        return the_one;
}

inline std::error_code make_error_code(errc code) noexcept
{
        return std::error_code(static_cast<int>(code), error_category());
}

/* The error of what a C call returned: of ammap::error_category() for an AMMAP_ERR_*, of
 * std::system_category() for a negative errno, none for 0 and more. */
inline std::error_code to_error_code(int rc) noexcept
{
        if (rc >= 0)
                return std::error_code();
        if (rc <= AMMAP_ERR_INVALID)
                return std::error_code(rc, error_category());
        return std::error_code(-rc, std::system_category());
}

/* --- Results ------------------------------------------------------------ */

#ifdef __cpp_lib_expected

template <class T> using expected = std::expected<T, std::error_code>;
using unexpect_t = std::unexpect_t;
inline constexpr unexpect_t unexpect{};

#else

struct unexpect_t {
        explicit unexpect_t() = default;
};
inline constexpr unexpect_t unexpect{};

/* What std::expected<T, std::error_code> has of this, it has by the same names.  value()
 * throws std::system_error in place of std::bad_expected_access. */
template <class T> class [[nodiscard]] expected
{
      public:
        using value_type = T;
        using error_type = std::error_code;

        template <class... Args>
        explicit expected(std::in_place_t, Args &&...args) : either_(std::in_place_index<0>, std::forward<Args>(args)...)
        {
        }
        expected(unexpect_t, std::error_code error) noexcept : either_(std::in_place_index<1>, error)
        {
        }

        bool has_value() const noexcept
        {
                return either_.index() == 0;
        }
        explicit operator bool() const noexcept
        {
                return has_value();
        }
        T &operator*() & noexcept
        {
                return *std::get_if<0>(&either_);
        }
        const T &operator*() const & noexcept
        {
                return *std::get_if<0>(&either_);
        }
        T &&operator*() && noexcept
        {
                return std::move(*std::get_if<0>(&either_));
        }
        T *operator->() noexcept
        {
                return std::get_if<0>(&either_);
        }
        const T *operator->() const noexcept
        {
                return std::get_if<0>(&either_);
        }
        const std::error_code &error() const noexcept
        {
                return *std::get_if<1>(&either_);
        }
        template <class U> T value_or(U &&other) const &
        {
                return has_value() ? **this : static_cast<T>(std::forward<U>(other));
        }
        template <class U> T value_or(U &&other) &&
        {
                return has_value() ? *std::move(*this) : static_cast<T>(std::forward<U>(other));
        }
#if AMMAP_HPP_EXCEPTIONS
        T &value() &
        {
                check();
                return **this;
        }
        const T &value() const &
        {
                check();
                return **this;
        }
        T &&value() &&
        {
                check();
                return *std::move(*this);
        }

      private:
        void check() const
        {
                if (!has_value())
                        throw std::system_error(error());
        }
#endif

      private:
        std::variant<T, std::error_code> either_;
};

template <> class [[nodiscard]] expected<void>
{
      public:
        using value_type = void;
        using error_type = std::error_code;

        expected() noexcept = default;
        explicit expected(std::in_place_t) noexcept
        {
        }
        expected(unexpect_t, std::error_code error) noexcept : failed_(true), error_(error)
        {
        }

        bool has_value() const noexcept
        {
                return !failed_;
        }
        explicit operator bool() const noexcept
        {
                return !failed_;
        }
        void operator*() const noexcept
        {
        }
        const std::error_code &error() const noexcept
        {
                return error_;
        }
#if AMMAP_HPP_EXCEPTIONS
        void value() const
        {
                if (failed_)
                        throw std::system_error(error_);
        }
#endif

      private:
        bool failed_ = false;
        std::error_code error_;
};

#endif

namespace detail
{

/* Whether a class is moved by take(), and not by a move constructor. */
template <class T, class = void> struct is_taken : std::false_type {
};
template <class T> struct is_taken<T, std::void_t<decltype(std::declval<T &>().take())>> : std::true_type {
};

template <class T> expected<T> failure(int rc) noexcept
{
        return expected<T>(unexpect, to_error_code(rc));
}

inline expected<void> done(int rc) noexcept
{
        return rc < 0 ? failure<void>(rc) : expected<void>();
}

template <class T> expected<T> number(int rc) noexcept
{
        return rc < 0 ? failure<T>(rc) : expected<T>(std::in_place, static_cast<T>(rc));
}

} // namespace detail

#if AMMAP_HPP_EXCEPTIONS
/* The value of a result, or throws std::system_error with its code.  Also of slices, which
 * value() cannot move out. */
template <class T> T or_throw(expected<T> &&result)
{
        if (!result)
                throw std::system_error(result.error());
        if constexpr (detail::is_taken<T>::value)
                return result->take();
        else if constexpr (!std::is_void_v<T>)
                return std::move(*result);
}
#endif

/* --- Ranges of bytes ---------------------------------------------------- */

#ifdef __cpp_lib_span
using bytes = std::span<const std::byte>;
using mut_bytes = std::span<std::byte>;
#else
namespace detail
{
/* As much of std::span as bytes need. */
template <class Byte> class byte_range
{
      public:
        byte_range() noexcept = default;
        byte_range(Byte *data, std::size_t size) noexcept : data_(data), size_(size)
        {
        }
        Byte *data() const noexcept
        {
                return data_;
        }
        std::size_t size() const noexcept
        {
                return size_;
        }
        bool empty() const noexcept
        {
                return size_ == 0;
        }
        Byte *begin() const noexcept
        {
                return data_;
        }
        Byte *end() const noexcept
        {
                return data_ + size_;
        }
        Byte &operator[](std::size_t i) const noexcept
        {
                return data_[i];
        }

      private:
        Byte *data_ = nullptr;
        std::size_t size_ = 0;
};
} // namespace detail
using bytes = detail::byte_range<const std::byte>;
using mut_bytes = detail::byte_range<std::byte>;
#endif

/* --- What owns a map ---------------------------------------------------- */

namespace detail
{

/* A C handle and those who own it: map objects, slices, views, calls that sleep. */
struct shared_map {
        ammap_t *map = nullptr;
        std::atomic<std::size_t> owners{ 1 };
        bool busy = false;          /* why it could not be freed */
        shared_map *next = nullptr; /* on the list of those */
};

/* Maps without an owner that ammap_free refused: pushed one at a time, and taken off all at once. */
inline std::atomic<shared_map *> unfreed{ nullptr };

inline void free_or_keep(shared_map *shared) noexcept
{
        int rc = ammap_free(shared->map);

        if (rc == 0) {
                delete shared;
                return;
        }
        shared->busy = rc == AMMAP_ERR_BUSY;
        shared->next = unfreed.load(std::memory_order_relaxed);
        while (!unfreed.compare_exchange_weak(shared->next, shared, std::memory_order_release,
                                              std::memory_order_relaxed)) {
        }
}

/* Try those again, and count those that stay.  One that was busy may still have a thread in a
 * call, which only the program can know. */
inline std::size_t free_unfreed(bool busy_too) noexcept
{
        shared_map *list = unfreed.exchange(nullptr, std::memory_order_acquire);
        std::size_t left = 0;

        while (list) {
                shared_map *shared = list;
                list = shared->next;
                if (!shared->busy || busy_too) {
                        free_or_keep(shared);
                        continue;
                }
                shared->next = unfreed.load(std::memory_order_relaxed);
                while (!unfreed.compare_exchange_weak(shared->next, shared, std::memory_order_release,
                                                      std::memory_order_relaxed)) {
                }
        }
        for (shared_map *shared = unfreed.load(std::memory_order_acquire); shared; shared = shared->next)
                left++;
        return left;
}

/* One owner of a map, or nobody. */
class owner
{
      public:
        owner() noexcept = default;
        /* Takes over the caller's part. */
        explicit owner(shared_map *shared) noexcept : shared_(shared)
        {
        }
        owner(owner &&other) noexcept : shared_(std::exchange(other.shared_, nullptr))
        {
        }
        owner &operator=(owner &&other) noexcept
        {
                owner old(std::move(other));
                std::swap(shared_, old.shared_);
                return *this;
        }
        ~owner()
        {
                /* The last one frees what the others have used before. */
                if (shared_ && shared_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1)
                        free_or_keep(shared_);
        }

        owner another() const noexcept
        {
                if (shared_)
                        shared_->owners.fetch_add(1, std::memory_order_relaxed);
                return owner(shared_);
        }
        ammap_t *get() const noexcept
        {
                return shared_ ? shared_->map : nullptr;
        }
        /* No other owner can come: only an owner makes one. */
        bool is_alone() const noexcept
        {
                return shared_ && shared_->owners.load(std::memory_order_acquire) == 1;
        }
        shared_map *release() noexcept
        {
                return std::exchange(shared_, nullptr);
        }

      private:
        shared_map *shared_ = nullptr;
};

/* --- Slices that another thread destroys -------------------------------- *
 *
 * The compiler keeps a slice in its thread, but an object behind a pointer can have one as
 * a member.  A slice that ends in another thread goes to the inbox of the thread that took it, which
 * releases it when it next takes or releases one, or ends. */

struct stray {
        ammap_slice_t slice = {};
        ammap_mut_slice_t mut_slice = {};
        owner map;
        std::uint64_t thread = 0;
        stray *next = nullptr;
};

struct inbox {
        std::atomic<std::uint64_t> thread{ 0 }; /* whose it is; 0: nobody's */
        std::atomic<stray *> strays{ nullptr };
        inbox *next = nullptr; /* constant once it is on the list */
};

/* All of them, newest first; never cut.  Those of ended threads are used again. */
inline std::atomic<inbox *> inboxes{ nullptr };
inline std::atomic<std::uint64_t> threads{ 0 };

inline thread_local std::uint64_t this_thread = 0; /* a number that no other thread ever has */
inline thread_local inbox *this_inbox = nullptr;

/* In an inbox whose thread has ended. */
inline stray *closed() noexcept
{
        static stray mark;
        return &mark;
}

/* What came for a thread before is no longer held: the library released it when that thread
 * ended. */
inline void end_strays(stray *list) noexcept
{
        while (list && list != closed()) {
                stray *one = list;
                list = one->next;
                if (one->thread == this_thread) {
                        ammap_slice_release(&one->slice);
                        ammap_mut_slice_release(&one->mut_slice);
                }
                delete one;
        }
}

inline void close_inbox() noexcept
{
        inbox *own = std::exchange(this_inbox, nullptr);

        if (!own)
                return;
        end_strays(own->strays.exchange(closed(), std::memory_order_acq_rel));
        own->thread.store(0, std::memory_order_release); /* open_inbox acquires it */
}

inline inbox *open_inbox() noexcept
{
        for (inbox *box = inboxes.load(std::memory_order_acquire); box; box = box->next) {
                std::uint64_t nobody = 0;
                if (box->thread.compare_exchange_strong(nobody, this_thread, std::memory_order_acq_rel)) {
                        box->strays.store(nullptr, std::memory_order_release);
                        return box;
                }
        }
        inbox *box = new (std::nothrow) inbox;
        if (!box)
                return nullptr;
        box->thread.store(this_thread, std::memory_order_relaxed);
        box->next = inboxes.load(std::memory_order_relaxed);
        while (!inboxes.compare_exchange_weak(box->next, box, std::memory_order_release, std::memory_order_relaxed)) {
        }
        return box;
}

inline void begin_thread() noexcept
{
        struct at_exit {
                ~at_exit()
                {
                        close_inbox();
                }
        };

        this_thread = threads.fetch_add(1, std::memory_order_relaxed) + 1;
        this_inbox = open_inbox();
        static thread_local at_exit hook;
        static_cast<void>(hook);
}

/* The number of this thread, for a slice that it takes. */
inline std::uint64_t thread() noexcept
{
        if (this_thread == 0)
                begin_thread();
        return this_thread;
}

inline void look_for_strays() noexcept
{
        if (this_inbox && this_inbox->strays.load(std::memory_order_relaxed))
                end_strays(this_inbox->strays.exchange(nullptr, std::memory_order_acquire));
}

/* Give a slice back to its thread.  If that has ended, the library has released the slice. */
inline void send_back(stray &&slice) noexcept
{
        for (inbox *box = inboxes.load(std::memory_order_acquire); box; box = box->next) {
                if (box->thread.load(std::memory_order_acquire) != slice.thread)
                        continue;
                stray *one = new (std::nothrow) stray(std::move(slice));
                if (!one) {
                        slice.map.release(); /* the map stays, for the slice does until its thread ends */
                        return;
                }
                one->next = box->strays.load(std::memory_order_relaxed);
                do {
                        if (one->next == closed()) {
                                delete one;
                                return;
                        }
                } while (!box->strays.compare_exchange_weak(one->next, one, std::memory_order_acq_rel,
                                                            std::memory_order_relaxed));
                return;
        }
}

/* What a slice to read is made of, and one to write. */
struct reading {
        using c_slice = ammap_slice_t;
        using byte = const std::byte;
        using span = bytes;

        static int release(c_slice *slice) noexcept
        {
                return ammap_slice_release(slice);
        }
        static int detach(c_slice *slice) noexcept
        {
                return ammap_slice_detach(slice);
        }
        static c_slice &in(stray &stray) noexcept
        {
                return stray.slice;
        }
};

struct writing {
        using c_slice = ammap_mut_slice_t;
        using byte = std::byte;
        using span = mut_bytes;

        static int release(c_slice *slice) noexcept
        {
                return ammap_mut_slice_release(slice);
        }
        static int detach(c_slice *slice) noexcept
        {
                return ammap_mut_slice_detach(slice);
        }
        static c_slice &in(stray &stray) noexcept
        {
                return stray.mut_slice;
        }
};

/* The bytes of a slice.  A slice that is about to end has none: a pointer into it would
 * outlive the lock.  So these are for slices that have a name. */
template <class Kind> class slice_bytes
{
      public:
        using byte = typename Kind::byte;
        using c_slice = typename Kind::c_slice;
        using value_type = std::byte;

        byte *data() const & noexcept
        {
                return reinterpret_cast<byte *>(slice_.data);
        }
        byte *data() const && = delete;
        /* In bytes. */
        std::size_t size() const noexcept
        {
                return slice_.length;
        }
        bool empty() const noexcept
        {
                return slice_.length == 0;
        }
        byte *begin() const & noexcept
        {
                return data();
        }
        byte *begin() const && = delete;
        byte *end() const & noexcept
        {
                return data() + size();
        }
        byte *end() const && = delete;
        byte &operator[](std::size_t i) const & noexcept
        {
                return data()[i];
        }
        byte &operator[](std::size_t i) const && = delete;
        /* std::span<const std::byte>, of a mut slice std::span<std::byte>; before C++20 a class
         * with data(), size(), begin(), end() and []. */
        typename Kind::span span() const & noexcept
        {
                return typename Kind::span(data(), size());
        }
        typename Kind::span span() const && = delete;

        /* Whether it holds bytes, or rather a lock: a slice of no bytes does. */
        explicit operator bool() const noexcept
        {
                return slice_.data != nullptr;
        }

      protected:
        slice_bytes() noexcept = default;
        slice_bytes(const c_slice &slice, owner &&map) noexcept : slice_(slice), map_(std::move(map))
        {
        }
        ~slice_bytes() = default;

        c_slice slice_ = {};
        owner map_;
};

} // namespace detail

/* --- Slices ------------------------------------------------------------- */

/* A slice that any thread of the process may have and release.  It is made by detach() and
 * is moved as any object. */
template <class Kind> class basic_detached_slice : public detail::slice_bytes<Kind>
{
      public:
        basic_detached_slice() noexcept = default;
        basic_detached_slice(const typename Kind::c_slice &slice, detail::owner &&map) noexcept
            : detail::slice_bytes<Kind>(slice, std::move(map))
        {
        }
        basic_detached_slice(basic_detached_slice &&other) noexcept
            : detail::slice_bytes<Kind>(std::exchange(other.slice_, typename Kind::c_slice{}), std::move(other.map_))
        {
        }
        basic_detached_slice &operator=(basic_detached_slice &&other) noexcept
        {
                if (this != &other) {
                        release();
                        this->slice_ = std::exchange(other.slice_, typename Kind::c_slice{});
                        this->map_ = std::move(other.map_);
                }
                return *this;
        }
        ~basic_detached_slice()
        {
                release();
        }

        /* Releases it before its end.  Nothing is left to do at its end. */
        void release() noexcept
        {
                Kind::release(&this->slice_);
                detail::owner freed(std::move(this->map_));
        }
};

/* A pointer into a map that holds a lock, of the thread that took it.
 *
 * The object cannot be moved into another thread: it has no move constructor, only take()
 * and move assignment.  Where it ends in another thread all the same, as a member of
 * something behind a pointer, it stays a slice of its thread, which releases it when it
 * next takes or releases a slice of ammap.hpp, or ends. */
template <class Kind> class basic_slice : public detail::slice_bytes<Kind>
{
        static constexpr bool is_mut = std::is_same_v<Kind, detail::writing>;

      public:
        /* Holds nothing. */
        basic_slice() noexcept = default;
        basic_slice(const basic_slice &) = delete;
        basic_slice &operator=(const basic_slice &) = delete;
        /* Within the thread; both sides are this thread's. */
        basic_slice &operator=(basic_slice &&other) noexcept
        {
                if (this != &other) {
                        leave();
                        thread_ = other.thread_;
                        recovered_ = other.recovered_;
                        this->slice_ = std::exchange(other.slice_, typename Kind::c_slice{});
                        this->map_ = std::move(other.map_);
                }
                return *this;
        }
        ~basic_slice()
        {
                leave();
        }

        /* The slice, in a new object of this thread; this one is empty then:
         *      auto other = slice.take(); */
        [[nodiscard]] basic_slice take() noexcept
        {
                return basic_slice(std::exchange(this->slice_, typename Kind::c_slice{}), std::move(this->map_),
                                   thread_, recovered_);
        }

        /* Releases it before its end, in the thread that took it; else
         *   errc::invalid   another thread took it; nothing is released */
        expected<void> release() noexcept
        {
                if (!*this)
                        return expected<void>();
                if (thread_ != detail::this_thread)
                        return detail::failure<void>(AMMAP_ERR_INVALID);
                int rc = Kind::release(&this->slice_);
                if (rc < 0)
                        return detail::failure<void>(rc);
                detail::owner freed(std::move(this->map_));
                return expected<void>();
        }

        /* Gives it to the process: ammap_slice_detach(3).  On an error it stays as it is.
         *      auto detached = std::move(slice).detach();
         *      std::thread(work, std::move(*detached)); */
        [[nodiscard]] expected<basic_detached_slice<Kind>> detach() && noexcept
        {
                using detached = basic_detached_slice<Kind>;
                if (thread_ != detail::this_thread)
                        return detail::failure<detached>(AMMAP_ERR_INVALID);
                int rc = Kind::detach(&this->slice_);
                if (rc < 0)
                        return detail::failure<detached>(rc);
                return expected<detached>(std::in_place, std::exchange(this->slice_, typename Kind::c_slice{}),
                                          std::move(this->map_));
        }

        /* Of a mut slice: a slice of the same bytes, with no other writer in between:
         * ammap_mut_slice_downgrade(3).  On an error it stays as it is.
         *      auto slice = std::move(mut_slice).downgrade(); */
        template <class Read = basic_slice<detail::reading>>
        [[nodiscard]] std::enable_if_t<is_mut, expected<Read>> downgrade() && noexcept
        {
                ammap_slice_t to = {};
                if (!*this || thread_ != detail::this_thread)
                        return detail::failure<Read>(AMMAP_ERR_INVALID);
                int rc = ammap_mut_slice_downgrade(&this->slice_, &to);
                if (rc < 0)
                        return detail::failure<Read>(rc);
                return expected<Read>(std::in_place, to, std::move(this->map_), thread_, false);
        }

        /* Of map::recover_as_mut_slice: whether a writer had died, and the bytes are as it left
         * them. */
        bool recovered() const noexcept
        {
                return recovered_;
        }

        /* For map, which takes them. */
        basic_slice(const typename Kind::c_slice &slice, detail::owner &&map, std::uint64_t thread,
                    bool recovered) noexcept
            : detail::slice_bytes<Kind>(slice, std::move(map)), thread_(thread), recovered_(recovered)
        {
        }

        /* A slice on the heap could go to another thread by its pointer. */
        static void *operator new(std::size_t) = delete;
        static void *operator new[](std::size_t) = delete;

      private:
        void leave() noexcept
        {
                if (!*this)
                        return;
                if (thread_ != detail::this_thread) {
                        detail::stray stray;
                        detail::owner kept(std::move(this->map_));
                        Kind::in(stray) = std::exchange(this->slice_, typename Kind::c_slice{});
                        stray.thread = thread_;
                        stray.map = std::move(kept);
                        detail::send_back(std::move(stray));
                        return;
                }
                Kind::release(&this->slice_);
                detail::owner freed(std::move(this->map_));
                detail::look_for_strays();
        }

        std::uint64_t thread_ = 0;
        bool recovered_ = false;
};

using slice = basic_slice<detail::reading>;
using mut_slice = basic_slice<detail::writing>;
using detached_slice = basic_detached_slice<detail::reading>;
using detached_mut_slice = basic_detached_slice<detail::writing>;

/* --- Atomic views ------------------------------------------------------- */

namespace detail
{

template <class T> struct view_of;

template <> struct view_of<std::uint32_t> {
        using c_view = ammap_u32_view_t;
        static int take(ammap_t *map, std::uint64_t offset, std::size_t count, c_view *view) noexcept
        {
                return ammap_atomic_u32_slice(map, offset, count, view);
        }
        static void release(c_view *view) noexcept
        {
                ammap_u32_view_release(view);
        }
        static int load(ammap_t *map, std::uint64_t offset, std::uint32_t *value) noexcept
        {
                return ammap_load_u32(map, offset, value);
        }
};

template <> struct view_of<std::uint64_t> {
        using c_view = ammap_u64_view_t;
        static int take(ammap_t *map, std::uint64_t offset, std::size_t count, c_view *view) noexcept
        {
                return ammap_atomic_u64_slice(map, offset, count, view);
        }
        static void release(c_view *view) noexcept
        {
                ammap_u64_view_release(view);
        }
        static int load(ammap_t *map, std::uint64_t offset, std::uint64_t *value) noexcept
        {
                return ammap_load_u64(map, offset, value);
        }
};

} // namespace detail

/* Atomics inside a map, of std::uint32_t or std::uint64_t: no lock is held.  Their operations are
 * those of std::atomic: view->fetch_add(1), view[3].store(0).  It may go to any thread. */
template <class T> class view
{
        using c_view = typename detail::view_of<T>::c_view;

      public:
        using value_type = std::atomic<T>;

        /* Has no atomics. */
        view() noexcept = default;
        view(view &&other) noexcept : view_(std::exchange(other.view_, c_view{})), map_(std::move(other.map_))
        {
        }
        view &operator=(view &&other) noexcept
        {
                if (this != &other) {
                        release();
                        view_ = std::exchange(other.view_, c_view{});
                        map_ = std::move(other.map_);
                }
                return *this;
        }
        ~view()
        {
                release();
        }

        std::atomic<T> &operator*() const noexcept
        {
                return *view_.value;
        }
        std::atomic<T> *operator->() const noexcept
        {
                return view_.value;
        }
        std::atomic<T> &operator[](std::size_t i) const noexcept
        {
                return view_.value[i];
        }
        std::atomic<T> *data() const noexcept
        {
                return view_.value;
        }
        /* In atomics. */
        std::size_t size() const noexcept
        {
                return view_.count;
        }
        bool empty() const noexcept
        {
                return view_.count == 0;
        }
        std::atomic<T> *begin() const noexcept
        {
                return view_.value;
        }
        std::atomic<T> *end() const noexcept
        {
                return view_.value + view_.count;
        }
        explicit operator bool() const noexcept
        {
                return view_.value != nullptr;
        }

        /* Releases it before its end. */
        void release() noexcept
        {
                detail::view_of<T>::release(&view_);
                detail::owner freed(std::move(map_));
        }

        /* For map, which takes them. */
        view(const c_view &taken, detail::owner &&map) noexcept : view_(taken), map_(std::move(map))
        {
        }

      private:
        c_view view_ = {};
        detail::owner map_;
};

using u32_view = view<std::uint32_t>;
using u64_view = view<std::uint64_t>;

/* --- How to make a map -------------------------------------------------- */

/* The enumerations of ammap.h. */
enum class sharing : int { none = AMMAP_PRIVATE, shared = AMMAP_SHARED, raw = AMMAP_RAW };
enum class forking : int { copy = AMMAP_FORK_COPY, omit = AMMAP_FORK_OMIT, wipe = AMMAP_FORK_WIPE };
enum class want : int { no = AMMAP_NO, attempt = AMMAP_TRY, must = AMMAP_MUST };
enum class advice : int {
        normal = AMMAP_ADVICE_NORMAL,
        random = AMMAP_ADVICE_RANDOM,
        sequential = AMMAP_ADVICE_SEQUENTIAL,
        willneed = AMMAP_ADVICE_WILLNEED,
        cold = AMMAP_ADVICE_COLD,
        pageout = AMMAP_ADVICE_PAGEOUT,
        hugepage = AMMAP_ADVICE_HUGEPAGE,
        nohugepage = AMMAP_ADVICE_NOHUGEPAGE,
};
/* What ammap_export takes. */
enum class rights : unsigned {
        read = AMMAP_READ,
        read_write = AMMAP_READ | AMMAP_WRITE,
        read_no_seal = AMMAP_READ | AMMAP_NO_SEAL,
};
enum class seals : unsigned {
        shrink = AMMAP_SEAL_SHRINK,
        grow = AMMAP_SEAL_GROW,
        write = AMMAP_SEAL_WRITE,
        future_write = AMMAP_SEAL_FUTURE_WRITE,
        seal = AMMAP_SEAL_SEAL,
};
constexpr seals operator|(seals a, seals b) noexcept
{
        return static_cast<seals>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

using statistics = ammap_stat_t;
using holder = ammap_holder_t;

/* Part of a map, in bytes. */
struct range {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
};

/* Timeouts: any std::chrono duration of whole nanoseconds or more. */
using timeout = std::chrono::nanoseconds;
inline constexpr timeout for_ever{ -1 };

/* ammap_options_t, set by calls that can be put in a row:
 *      ammap::options().share(ammap::sharing::shared).lanes(4)
 * The defaults, and what each is, are those of ammap.h.  It is made of an ammap_options_t, too. */
class options
{
      public:
        options() noexcept = default;
        options(const ammap_options_t &from) noexcept : c_(from)
        {
        }

        /* Read when the map is made: it must live until then. */
        options &name(const char *text) noexcept
        {
                c_.name = text;
                return *this;
        }
        options &capacity(std::uint64_t size) noexcept
        {
                c_.capacity = size;
                return *this;
        }
        options &lanes(std::uint64_t count) noexcept
        {
                c_.lanes = count;
                return *this;
        }
        options &share(sharing with) noexcept
        {
                c_.share = static_cast<ammap_share_t>(with);
                return *this;
        }
        options &fork(forking policy) noexcept
        {
                c_.fork = static_cast<ammap_fork_t>(policy);
                return *this;
        }
        options &allow_faults(bool yes = true) noexcept
        {
                c_.allow_faults = yes;
                return *this;
        }
        options &read_only(bool yes = true) noexcept
        {
                c_.read_only = yes;
                return *this;
        }
        options &huge(want wanted) noexcept
        {
                return set(&ammap_options_t::huge, wanted);
        }
        options &populate(want wanted) noexcept
        {
                return set(&ammap_options_t::populate, wanted);
        }
        options &lock(want wanted) noexcept
        {
                return set(&ammap_options_t::lock, wanted);
        }
        options &guard(want wanted) noexcept
        {
                return set(&ammap_options_t::guard, wanted);
        }
        options &nodump(want wanted) noexcept
        {
                return set(&ammap_options_t::nodump, wanted);
        }
        options &secret(want wanted) noexcept
        {
                return set(&ammap_options_t::secret, wanted);
        }
        options &noreserve(want wanted) noexcept
        {
                return set(&ammap_options_t::noreserve, wanted);
        }
        options &recycle(want wanted) noexcept
        {
                return set(&ammap_options_t::recycle, wanted);
        }

        const ammap_options_t *c_options() const noexcept
        {
                return &c_;
        }

      private:
        options &set(ammap_want_t ammap_options_t::*field, want wanted) noexcept
        {
                c_.*field = static_cast<ammap_want_t>(wanted);
                return *this;
        }

        ammap_options_t c_ = AMMAP_OPTIONS_INIT;
};

/* A file descriptor, closed at its end: what map::export_fd makes. */
class descriptor
{
      public:
        /* None. */
        descriptor() noexcept = default;
        /* Takes over fd. */
        explicit descriptor(int fd) noexcept : fd_(fd)
        {
        }
        descriptor(descriptor &&other) noexcept : fd_(other.release())
        {
        }
        descriptor &operator=(descriptor &&other) noexcept
        {
                descriptor old(std::exchange(fd_, other.release()));
                return *this;
        }
        ~descriptor()
        {
                if (fd_ >= 0)
                        ::close(fd_);
        }
        /* -1: none. */
        int get() const noexcept
        {
                return fd_;
        }
        /* Gives it to the caller. */
        [[nodiscard]] int release() noexcept
        {
                return std::exchange(fd_, -1);
        }

      private:
        int fd_ = -1;
};

/* --- Maps --------------------------------------------------------------- */

namespace detail
{

/* A container of plain elements in a row: std::vector, std::array, std::string_view, std::span. */
template <class C, class = void> struct is_buffer : std::false_type {
};
template <class C>
struct is_buffer<C, std::void_t<decltype(std::declval<C &>().data()), decltype(std::declval<C &>().size())>>
    : std::is_trivially_copyable<std::remove_pointer_t<decltype(std::declval<C &>().data())>> {
};
template <class C> using if_buffer = std::enable_if_t<is_buffer<std::remove_reference_t<C>>::value, int>;

template <class C> std::size_t size_of(const C &buffer) noexcept
{
        return buffer.size() * sizeof(*buffer.data());
}

/* Types whose bytes are all of them, and that can come from bytes. */
template <class T> constexpr bool is_plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>;

} // namespace detail

/* A map: its C handle, owned together with its slices and views.
 *
 * Calls have the names of those in ammap.h without "ammap_", and their codes; each is
 * described there and on its manual page.  A map object without a map (default, or moved
 * from) has errc::invalid for all of them.
 *
 * Any thread may make any call at any time, but for those that change which map the object
 * has: assignment, close(), release() and its end. */
class map
{
      public:
        /* Has no map. */
        map() noexcept = default;

        /* --- Life --- */

        /* A map of `size` bytes, all zero: ammap_new(3), ammap_new_with(3). */
        [[nodiscard]] static expected<map> create(std::uint64_t size) noexcept
        {
                return make([&](ammap_t **made) { return ammap_new(made, size); });
        }
        [[nodiscard]] static expected<map> create(std::uint64_t size, const options &how) noexcept
        {
                return make([&](ammap_t **made) { return ammap_new_with(made, size, how.c_options()); });
        }
        /* The map in a file, or a new one; of size 0: the file must have a map: ammap_open(3). */
        [[nodiscard]] static expected<map> open(const char *path, std::uint64_t size = 0,
                                                const options &how = options()) noexcept
        {
                return make([&](ammap_t **made) { return ammap_open(made, path, size, how.c_options()); });
        }
        [[nodiscard]] static expected<map> open(const std::string &path, std::uint64_t size = 0,
                                                const options &how = options()) noexcept
        {
                return open(path.c_str(), size, how);
        }
        /* Of a descriptor, which stays the caller's: ammap_import(3). */
        [[nodiscard]] static expected<map> import_fd(int fd, const options &how = options()) noexcept
        {
                return make([&](ammap_t **made) { return ammap_import(made, fd, how.c_options()); });
        }
        /* From a socket: ammap_recv(3). */
        [[nodiscard]] static expected<map> recv(int socket, const options &how = options()) noexcept
        {
                return make([&](ammap_t **made) { return ammap_recv(made, socket, how.c_options()); });
        }
        /* Of a C handle, which is the object's after that; on an error it is the caller's. */
        [[nodiscard]] static expected<map> adopt(ammap_t *handle) noexcept
        {
                if (!handle)
                        return detail::failure<map>(AMMAP_ERR_INVALID);
                return make([&](ammap_t **made) {
                        *made = handle;
                        return 0;
                });
        }
        /* A copy of the bytes of one instant: ammap_clone(3). */
        [[nodiscard]] expected<map> clone() const noexcept
        {
                return make([&](ammap_t **made) { return ammap_clone(get(), made); });
        }
        /* Another object of the same map, for another thread say.  No bytes are copied. */
        [[nodiscard]] map share() const noexcept
        {
                return map(owner_.another());
        }

        /* Frees the map: ammap_free(3).
         *   errc::busy   a slice, a view, a sleeping call or another object has the map
         * On an error nothing has changed. */
        [[nodiscard]] expected<void> close() noexcept
        {
                if (get() && !owner_.is_alone())
                        return detail::failure<void>(AMMAP_ERR_BUSY);
                int rc = ammap_free(get());
                if (rc == 0)
                        delete owner_.release();
                return detail::done(rc);
        }
        /* Gives the C handle to the caller, who frees it.  NULL: something else has the map, too, and
         * nothing has changed; or there is none. */
        [[nodiscard]] ammap_t *release() noexcept
        {
                if (!owner_.is_alone())
                        return nullptr;
                ammap_t *handle = get();
                delete owner_.release();
                return handle;
        }
        /* The C handle, which stays the object's; NULL if there is no map. */
        ammap_t *get() const noexcept
        {
                return owner_.get();
        }
        explicit operator bool() const noexcept
        {
                return get() != nullptr;
        }

        std::uint64_t len() const noexcept
        {
                return ammap_len(get());
        }
        bool is_empty() const noexcept
        {
                return ammap_is_empty(get());
        }
        [[nodiscard]] expected<void> resize(std::uint64_t size) noexcept
        {
                return detail::done(ammap_resize(get(), size));
        }
        [[nodiscard]] expected<void> recover() noexcept
        {
                return detail::done(ammap_recover(get()));
        }
        [[nodiscard]] expected<statistics> stat() const noexcept
        {
                statistics all = AMMAP_STAT_INIT;
                int rc = ammap_stat(get(), &all);
                return rc < 0 ? detail::failure<statistics>(rc) : expected<statistics>(std::in_place, all);
        }
        /* A line for people.  (It throws std::bad_alloc where the string does.) */
        [[nodiscard]] expected<std::string> describe() const
        {
                std::string text;
                for (;;) {
                        int rc = ammap_describe(get(), text.empty() ? nullptr : &text[0], text.size());
                        if (rc < 0)
                                return detail::failure<std::string>(rc);
                        auto length = static_cast<std::size_t>(rc);
                        bool whole = length < text.size();
                        text.resize(whole ? length : length + 1);
                        if (whole)
                                return expected<std::string>(std::in_place, std::move(text));
                }
        }

        /* --- Copies --- */

        [[nodiscard]] expected<void> read_into(std::uint64_t offset, void *buffer, std::size_t length) const noexcept
        {
                return detail::done(ammap_read_into(get(), offset, buffer, length));
        }
        [[nodiscard]] expected<void> update_region(std::uint64_t offset, const void *data, std::size_t length) noexcept
        {
                return detail::done(ammap_update_region(get(), offset, data, length));
        }
        [[nodiscard]] expected<void> try_read_into(std::uint64_t offset, void *buffer,
                                                   std::size_t length) const noexcept
        {
                return detail::done(ammap_try_read_into(get(), offset, buffer, length));
        }
        [[nodiscard]] expected<void> try_update_region(std::uint64_t offset, const void *data,
                                                       std::size_t length) noexcept
        {
                return detail::done(ammap_try_update_region(get(), offset, data, length));
        }
        [[nodiscard]] expected<void> timed_read_into(std::uint64_t offset, void *buffer, std::size_t length,
                                                     timeout wait) const noexcept
        {
                return detail::done(ammap_timed_read_into(get(), offset, buffer, length, wait.count()));
        }
        [[nodiscard]] expected<void> timed_update_region(std::uint64_t offset, const void *data, std::size_t length,
                                                         timeout wait) noexcept
        {
                return detail::done(ammap_timed_update_region(get(), offset, data, length, wait.count()));
        }

        /* The same of a container: all its elements. */
        template <class C, detail::if_buffer<C> = 0>
        [[nodiscard]] expected<void> read_into(std::uint64_t offset, C &&buffer) const noexcept
        {
                return read_into(offset, buffer.data(), detail::size_of(buffer));
        }
        template <class C, detail::if_buffer<const C> = 0>
        [[nodiscard]] expected<void> update_region(std::uint64_t offset, const C &data) noexcept
        {
                return update_region(offset, data.data(), detail::size_of(data));
        }
        template <class C, detail::if_buffer<C> = 0>
        [[nodiscard]] expected<void> try_read_into(std::uint64_t offset, C &&buffer) const noexcept
        {
                return try_read_into(offset, buffer.data(), detail::size_of(buffer));
        }
        template <class C, detail::if_buffer<const C> = 0>
        [[nodiscard]] expected<void> try_update_region(std::uint64_t offset, const C &data) noexcept
        {
                return try_update_region(offset, data.data(), detail::size_of(data));
        }

        /* The same of one object of a trivially copyable type: its bytes, whole.  A pointer is
         * refused: another process has other addresses. */
        template <class T> [[nodiscard]] expected<T> read(std::uint64_t offset) const noexcept
        {
                static_assert(detail::is_plain<T>, "only trivially copyable types, and no pointers, lie in a map");
                T value{};
                int rc = ammap_read_into(get(), offset, &value, sizeof value);
                return value_or_error(rc, value);
        }
        template <class T> [[nodiscard]] expected<void> write(std::uint64_t offset, const T &value) noexcept
        {
                static_assert(detail::is_plain<T>, "only trivially copyable types, and no pointers, lie in a map");
                return update_region(offset, &value, sizeof value);
        }
        template <class T> [[nodiscard]] expected<T> try_read(std::uint64_t offset) const noexcept
        {
                static_assert(detail::is_plain<T>, "only trivially copyable types, and no pointers, lie in a map");
                T value{};
                int rc = ammap_try_read_into(get(), offset, &value, sizeof value);
                return value_or_error(rc, value);
        }
        template <class T> [[nodiscard]] expected<void> try_write(std::uint64_t offset, const T &value) noexcept
        {
                static_assert(detail::is_plain<T>, "only trivially copyable types, and no pointers, lie in a map");
                return try_update_region(offset, &value, sizeof value);
        }
        template <class T> [[nodiscard]] expected<T> timed_read(std::uint64_t offset, timeout wait) const noexcept
        {
                static_assert(detail::is_plain<T>, "only trivially copyable types, and no pointers, lie in a map");
                T value{};
                int rc = ammap_timed_read_into(get(), offset, &value, sizeof value, wait.count());
                return value_or_error(rc, value);
        }
        template <class T>
        [[nodiscard]] expected<void> timed_write(std::uint64_t offset, const T &value, timeout wait) noexcept
        {
                static_assert(detail::is_plain<T>, "only trivially copyable types, and no pointers, lie in a map");
                return timed_update_region(offset, &value, sizeof value, wait);
        }

        [[nodiscard]] expected<void> fill(std::uint64_t offset, std::uint64_t length, std::byte byte) noexcept
        {
                return detail::done(ammap_fill(get(), offset, length, std::to_integer<unsigned char>(byte)));
        }
        /* Copies from another map, or from this one, to `offset` of this one: ammap_copy(3). */
        [[nodiscard]] expected<void> copy_from(std::uint64_t offset, const map &from, std::uint64_t from_offset,
                                               std::uint64_t length) noexcept
        {
                return detail::done(ammap_copy(get(), offset, from.get(), from_offset, length));
        }

        /* --- Slices --- */

        [[nodiscard]] expected<slice> as_slice(std::uint64_t offset, std::uint64_t length) const noexcept
        {
                return take<slice, ammap_slice_t>([&](auto *to) { return ammap_as_slice(get(), offset, length, to); });
        }
        [[nodiscard]] expected<mut_slice> as_mut_slice(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return take<mut_slice, ammap_mut_slice_t>(
                        [&](auto *to) { return ammap_as_mut_slice(get(), offset, length, to); });
        }
        [[nodiscard]] expected<slice> try_as_slice(std::uint64_t offset, std::uint64_t length) const noexcept
        {
                return take<slice, ammap_slice_t>(
                        [&](auto *to) { return ammap_try_as_slice(get(), offset, length, to); });
        }
        [[nodiscard]] expected<mut_slice> try_as_mut_slice(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return take<mut_slice, ammap_mut_slice_t>(
                        [&](auto *to) { return ammap_try_as_mut_slice(get(), offset, length, to); });
        }
        [[nodiscard]] expected<slice> timed_as_slice(std::uint64_t offset, std::uint64_t length,
                                                     timeout wait) const noexcept
        {
                return take<slice, ammap_slice_t>(
                        [&](auto *to) { return ammap_timed_as_slice(get(), offset, length, wait.count(), to); });
        }
        [[nodiscard]] expected<mut_slice> timed_as_mut_slice(std::uint64_t offset, std::uint64_t length,
                                                             timeout wait) noexcept
        {
                return take<mut_slice, ammap_mut_slice_t>(
                        [&](auto *to) { return ammap_timed_as_mut_slice(get(), offset, length, wait.count(), to); });
        }
        /* Also of lanes whose writer died: then recovered() is true. */
        [[nodiscard]] expected<mut_slice> recover_as_mut_slice(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return take<mut_slice, ammap_mut_slice_t>(
                        [&](auto *to) { return ammap_recover_as_mut_slice(get(), offset, length, to); });
        }

        /* Calls work(bytes), or work(mut_bytes), while a slice is held; it is released on every way out.
         * The result is that of work.  It costs what the C calls do: a slice object also counts
         * itself as an owner of the map, which many threads feel. */
        template <class F> auto with_slice(std::uint64_t offset, std::uint64_t length, F &&work) const
        {
                scoped<detail::reading> held;
                int rc = ammap_as_slice(get(), offset, length, &held.slice);
                return call<bytes>(rc, held, std::forward<F>(work));
        }
        template <class F> auto with_mut_slice(std::uint64_t offset, std::uint64_t length, F &&work)
        {
                scoped<detail::writing> held;
                int rc = ammap_as_mut_slice(get(), offset, length, &held.slice);
                return call<mut_bytes>(rc, held, std::forward<F>(work));
        }

        /* --- Lanes --- */

        /* Where the lane of a byte begins, and the bytes of it that the map has. */
        [[nodiscard]] expected<range> lane(std::uint64_t offset) const noexcept
        {
                range found;
                int rc = ammap_lane(get(), offset, &found.offset, &found.length);
                return value_or_error(rc, found);
        }
        /* How many stand in the way of a range; `to` receives the first `count` of them. */
        [[nodiscard]] expected<std::size_t> holders(std::uint64_t offset, std::uint64_t length, holder *to,
                                                    std::size_t count) const noexcept
        {
                return detail::number<std::size_t>(ammap_holders(get(), offset, length, to, count));
        }
        /* All of them.  (It throws std::bad_alloc where the vector does.) */
        [[nodiscard]] expected<std::vector<holder>> holders(std::uint64_t offset, std::uint64_t length) const
        {
                std::vector<holder> all;
                for (;;) {
                        int rc = ammap_holders(get(), offset, length, all.data(), all.size());
                        if (rc < 0)
                                return detail::failure<std::vector<holder>>(rc);
                        auto count = static_cast<std::size_t>(rc);
                        bool whole = count <= all.size();
                        all.resize(count);
                        if (whole)
                                return expected<std::vector<holder>>(std::in_place, std::move(all));
                }
        }

        /* --- Raw pointers --- */

        /* No lock is taken, and no owner counted: valid as long as a map object, a slice or a view
         * is.  NULL where ammap_as_ptr(3) says so. */
        const void *as_ptr() const noexcept
        {
                return ammap_as_ptr(get());
        }
        void *as_mut_ptr() noexcept
        {
                return ammap_as_mut_ptr(get());
        }

        /* --- Atomic views --- */

        /* `count` atomics at offset: T is std::uint32_t or std::uint64_t. */
        template <class T>
        [[nodiscard]] expected<view<T>> atomic(std::uint64_t offset, std::size_t count = 1) noexcept
        {
                typename detail::view_of<T>::c_view taken = {};
                int rc = detail::view_of<T>::take(get(), offset, count, &taken);
                if (rc < 0)
                        return detail::failure<view<T>>(rc);
                return expected<view<T>>(std::in_place, taken, owner_.another());
        }
        [[nodiscard]] expected<u32_view> atomic_u32(std::uint64_t offset, std::size_t count = 1) noexcept
        {
                return atomic<std::uint32_t>(offset, count);
        }
        [[nodiscard]] expected<u64_view> atomic_u64(std::uint64_t offset, std::size_t count = 1) noexcept
        {
                return atomic<std::uint64_t>(offset, count);
        }
        /* One word, with no view: ammap_load_u32(3). */
        template <class T> [[nodiscard]] expected<T> load(std::uint64_t offset) const noexcept
        {
                T value = 0;
                int rc = detail::view_of<T>::load(get(), offset, &value);
                return value_or_error(rc, value);
        }

        /* Who sleeps in these has the map, as a slice has it. */

        /* Waits until the range is written: ammap_wait_change(3).  generation is 0 at first. */
        [[nodiscard]] expected<void> wait_change(std::uint64_t offset, std::uint64_t length, std::uint64_t &generation,
                                                 timeout wait = for_ever) const noexcept
        {
                detail::owner kept = owner_.another();
                return detail::done(ammap_wait_change(kept.get(), offset, length, &generation, wait.count()));
        }
        /* Sleeps while the word has this value: ammap_wait_u32(3).  Call it in a loop. */
        [[nodiscard]] expected<void> wait_u32(std::uint64_t offset, std::uint32_t value,
                                              timeout wait = for_ever) const noexcept
        {
                detail::owner kept = owner_.another();
                return detail::done(ammap_wait_u32(kept.get(), offset, value, wait.count()));
        }
        /* ... and the process lives: ammap_wait_u32_peer(3). */
        [[nodiscard]] expected<void> wait_u32_peer(std::uint64_t offset, std::uint32_t value, std::int32_t pid,
                                                   timeout wait = for_ever) const noexcept
        {
                detail::owner kept = owner_.another();
                return detail::done(ammap_wait_u32_peer(kept.get(), offset, value, wait.count(), pid));
        }
        /* How many threads were woken, of `count` at most. */
        expected<int> wake_u32(std::uint64_t offset, int count) const noexcept
        {
                return detail::number<int>(ammap_wake_u32(get(), offset, count));
        }

        /* --- Sharing --- */

        /* The descriptor, which stays the map's. */
        [[nodiscard]] expected<int> fd() const noexcept
        {
                return detail::number<int>(ammap_fd(get()));
        }
        /* A descriptor for another process: ammap_export(3). */
        [[nodiscard]] expected<descriptor> export_fd(rights allowed) noexcept
        {
                int made = -1;
                int rc = ammap_export(get(), static_cast<unsigned>(allowed), &made);
                return rc < 0 ? detail::failure<descriptor>(rc) : expected<descriptor>(std::in_place, made);
        }
        [[nodiscard]] expected<void> send(int socket) noexcept
        {
                return detail::done(ammap_send(get(), socket));
        }
        [[nodiscard]] expected<void> seal(seals added) noexcept
        {
                return detail::done(ammap_seal(get(), static_cast<unsigned>(added)));
        }
        [[nodiscard]] expected<void> flush(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return detail::done(ammap_flush(get(), offset, length));
        }

        /* --- Memory --- */

        [[nodiscard]] expected<void> populate(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return detail::done(ammap_populate(get(), offset, length));
        }
        [[nodiscard]] expected<void> discard(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return detail::done(ammap_discard(get(), offset, length));
        }
        [[nodiscard]] expected<void> advise(std::uint64_t offset, std::uint64_t length, advice use) noexcept
        {
                return detail::done(ammap_advise(get(), offset, length, static_cast<ammap_advice_t>(use)));
        }
        [[nodiscard]] expected<void> mlock(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return detail::done(ammap_mlock(get(), offset, length));
        }
        [[nodiscard]] expected<void> munlock(std::uint64_t offset, std::uint64_t length) noexcept
        {
                return detail::done(ammap_munlock(get(), offset, length));
        }
        [[nodiscard]] expected<void> freeze() noexcept
        {
                return detail::done(ammap_freeze(get()));
        }
        [[nodiscard]] expected<bool> is_hugepage_backed() const noexcept
        {
                int rc = ammap_is_hugepage_backed(get());
                return value_or_error(rc, rc == 1);
        }

      private:
        explicit map(detail::owner &&owner) noexcept : owner_(std::move(owner))
        {
        }

        template <class T> static expected<T> value_or_error(int rc, const T &value) noexcept
        {
                return rc < 0 ? detail::failure<T>(rc) : expected<T>(std::in_place, value);
        }

        /* The owner comes first, so that no map is made that nobody could own. */
        template <class Call> static expected<map> make(Call call) noexcept
        {
                if (detail::unfreed.load(std::memory_order_relaxed))
                        detail::free_unfreed(false);
                auto *shared = new (std::nothrow) detail::shared_map;
                if (!shared)
                        return expected<map>(unexpect, std::make_error_code(std::errc::not_enough_memory));
                int rc = call(&shared->map);
                if (rc < 0) {
                        delete shared;
                        return detail::failure<map>(rc);
                }
                return expected<map>(std::in_place, map(detail::owner(shared)));
        }

        /* The slice owns before it waits, so that the map stays while it does. */
        template <class Slice, class C, class Call> expected<Slice> take(Call call) const noexcept
        {
                C taken = {};
                std::uint64_t thread = detail::thread();
                detail::owner kept = owner_.another();
                detail::look_for_strays();
                int rc = call(&taken);
                if (rc < 0)
                        return detail::failure<Slice>(rc);
                return expected<Slice>(std::in_place, taken, std::move(kept), thread, rc == 1);
        }

        template <class Kind> struct scoped {
                scoped() noexcept = default;
                scoped(const scoped &) = delete;
                scoped &operator=(const scoped &) = delete;
                ~scoped()
                {
                        Kind::release(&slice);
                }
                typename Kind::c_slice slice = {};
        };

        template <class Bytes, class Scoped, class F> static auto call(int rc, const Scoped &held, F &&work)
        {
                using R = std::invoke_result_t<F, Bytes>;
                if (rc < 0)
                        return detail::failure<R>(rc);
                using byte = std::remove_pointer_t<decltype(std::declval<Bytes>().data())>;
                Bytes all(reinterpret_cast<byte *>(held.slice.data), held.slice.length);
                if constexpr (std::is_void_v<R>) {
                        std::forward<F>(work)(all);
                        return expected<void>();
                } else {
                        return expected<R>(std::in_place, std::forward<F>(work)(all));
                }
        }

        detail::owner owner_;
};

/* Gives back memory that freed maps have left for others: ammap_trim(3). */
[[nodiscard]] inline expected<void> trim(std::uint64_t keep) noexcept
{
        return detail::done(ammap_trim(keep));
}

/* Frees the maps that could not be freed at the end of their last owner, and returns how many
 * still cannot.  There are such in two cases alone: the system had no memory to unmap one, which
 * is tried again whenever a map is made; and a slice or view of the C handle (map::get) was alive,
 * or a thread was in a call of the ended map object.  Call it when that is over. */
inline std::size_t collect() noexcept
{
        return detail::free_unfreed(true);
}

/* The version of the library that runs. */
inline const char *version() noexcept
{
        return ammap_version();
}

} // namespace ammap

template <> struct std::is_error_code_enum<ammap::errc> : std::true_type {
};

#endif /* AMMAP_HPP */
