/* relay: a producer fills buffers in place and hands them to a pool, from C++.  SPDX-License-Identifier: MIT */
#include <ammap.hpp>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace
{

constexpr unsigned buffers = 16, buffer_size = 4096, workers = 3;

/* Works with exceptions and without: where they are wanted, ammap::or_throw() is what this is. */
template <class T> T must(ammap::expected<T> &&result)
{
        if (!result) {
                std::fprintf(stderr, "%s\n", result.error().message().c_str());
                std::exit(1);
        }
        if constexpr (!std::is_void_v<T>)
                return std::move(*result);
}

/* A slice is its thread's, and std::thread would not compile with one.  A detached one goes where it likes. */
class queue
{
      public:
        void put(ammap::detached_slice &&slice)
        {
                std::lock_guard lock(mutex_);
                slices_.push_back(std::move(slice));
                wake_.notify_one();
        }
        /* Nothing: the end. */
        ammap::detached_slice get()
        {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return !slices_.empty(); });
                ammap::detached_slice slice = std::move(slices_.front());
                slices_.pop_front();
                return slice;
        }

      private:
        std::mutex mutex_;
        std::condition_variable wake_;
        std::deque<ammap::detached_slice> slices_;
};

void work(queue &ready, const ammap::u64_view &sum)
{
        while (auto slice = ready.get()) {
                std::uint64_t mine = 0;
                for (std::byte byte : slice)
                        mine += std::to_integer<unsigned>(byte);
                sum->fetch_add(mine);
        } /* the lane can be written again */
}

} // namespace

int main()
{
        queue ready;
        ammap::u64_view sum;
        {
                ammap::map results = must(ammap::map::create(sizeof(std::uint64_t)));
                sum = must(results.atomic_u64(0));
        } /* The map lives as long as the view. */

        /* A lane for each buffer, so that they are written and read apart. */
        ammap::map map = must(ammap::map::create(buffers * buffer_size, ammap::options().lanes(buffers)));
        std::vector<std::thread> pool;
        for (unsigned i = 0; i < workers; i++)
                pool.emplace_back(work, std::ref(ready), std::cref(sum));

        std::uint64_t expected = 0;
        for (unsigned i = 0; i < 4 * buffers; i++) {
                /* Waits for the worker that still has the buffer. */
                auto room = map.as_mut_slice(std::uint64_t{ i % buffers } * buffer_size, buffer_size);
                if (!room)
                        return 1;
                for (std::byte &byte : *room)
                        byte = std::byte(i);
                expected += std::uint64_t{ i } * buffer_size;
                auto written = std::move(*room).downgrade(); /* nobody writes in between */
                if (!written)
                        return 1;
                ready.put(must(std::move(*written).detach()));
        }
        for (unsigned i = 0; i < workers; i++)
                ready.put(ammap::detached_slice());
        for (auto &thread : pool)
                thread.join();

        must(map.write(0, sum->load()));
        std::printf("%u workers added up %llu\n", workers,
                    static_cast<unsigned long long>(must(map.read<std::uint64_t>(0))));
        return sum->load() == expected ? 0 : 1;
}
