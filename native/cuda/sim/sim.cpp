#include "cuda/sim/sim.h"

#include <stdio.h>
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <numeric>
#include <vector>

namespace hk {
namespace sim {

dim3 thread_index, block_index, block_size, grid_size;
unsigned char* dynamic_shared;

namespace {

const size_t kStack = 256 << 10;  // of a fiber; pages that are never touched cost nothing
const int kMostThreads = 1024;
const size_t kShared = 48 << 10, kMostShared = 227 << 10;  // of a block: without asking, and of sm_90 when asked for

enum class State { ready, at_block, at_warp, done };
struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};
struct Fiber {
  void* stack_pointer;
  dim3 index;
  State state;
  unsigned mask;
  WarpOp op;
  uint64_t value;
  std::vector<Copy> copies;  // asked for, not yet done
};

std::mutex one_launch_at_a_time;
std::vector<Fiber> fibers;
std::vector<uint64_t> exchanged;  // what each thread brought to its last warp function
std::vector<int> order;
int current;
void* scheduler_stack;
const std::function<void()>* kernel_body;
std::map<const void*, size_t> allowed_shared;  // by kernel
uint64_t random_state = 1;
char error[200];

uint32_t random_below(uint32_t n) {
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)((random_state >> 33) % n);
}

template <class T>
void shuffle(std::vector<T>& list) {
  for (size_t i = list.size(); i > 1; i--) std::swap(list[i - 1], list[random_below((uint32_t)i)]);
}

// Saves the callee-saved registers on the running stack and goes on with another one.
extern "C" void hk_sim_switch(void** save_stack_pointer, void* stack_pointer);
asm(R"(
.text
.type hk_sim_switch,@function
hk_sim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size hk_sim_switch, .-hk_sim_switch
)");

void wait_in(State state) {
  fibers[current].state = state;
  hk_sim_switch(&fibers[current].stack_pointer, scheduler_stack);
}

void fiber_main() {
  (*kernel_body)();
  wait_in(State::done);
}

unsigned char* stack_of(int fiber) {
  static unsigned char* stacks = (unsigned char*)mmap(nullptr, kStack * kMostThreads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return stacks + kStack * fiber;
}

void start(int fiber) {
  void** top = (void**)(stack_of(fiber) + kStack);
  *--top = nullptr;  // keeps the stack aligned as after a call
  *--top = (void*)fiber_main;
  for (int saved = 0; saved < 6; saved++) *--top = nullptr;
  fibers[fiber].stack_pointer = top;
  fibers[fiber].state = State::ready;
  fibers[fiber].copies.clear();
}

void run_ready() {
  const size_t n = fibers.size(), first = random_below((uint32_t)n);
  for (size_t i = 0; i < n; i++) {
    current = order[(first + i) % n];
    if (fibers[current].state != State::ready) continue;
    thread_index = fibers[current].index;
    hk_sim_switch(&scheduler_stack, fibers[current].stack_pointer);
  }
}

// Lanes that wait together in the warp that begins at thread `first` go on when all lanes of their mask wait for the same.
bool release_warp(int first) {
  bool released = false;
  for (int i = first; i < first + 32 && i < (int)fibers.size(); i++) {
    if (fibers[i].state != State::at_warp) continue;
    const unsigned mask = fibers[i].mask;
    bool complete = mask >> (i - first) & 1;
    for (int j = 0; j < 32 && complete; j++) {
      if (!(mask >> j & 1)) continue;
      const Fiber* other = first + j < (int)fibers.size() ? &fibers[first + j] : nullptr;
      complete = other && other->state == State::at_warp && other->mask == mask && other->op == fibers[i].op;
    }
    for (int j = 0; j < 32 && complete; j++) {
      exchanged[first + j] = mask >> j & 1 ? fibers[first + j].value : ~0ull;  // lanes outside the mask give NaN
      if (mask >> j & 1) fibers[first + j].state = State::ready;
    }
    released = released || complete;
  }
  return released;
}

int count(State state) {
  int n = 0;
  for (const Fiber& f : fibers) n += f.state == state;
  return n;
}

bool run_block() {
  const int n = (int)fibers.size();
  for (;;) {
    run_ready();
    if (count(State::done) == n) return true;
    bool released = false;
    for (int first = 0; first < n; first += 32) released = release_warp(first) || released;
    if (released) continue;
    const int waiting = count(State::at_block), at_warp = count(State::at_warp), done = count(State::done);
    if (waiting < n) {
      snprintf(error, sizeof error, "divergent barrier in block (%u, %u, %u): %d threads at __syncthreads, %d at a warp function, %d finished",
               block_index.x, block_index.y, block_index.z, waiting, at_warp, done);
      return false;
    }
    for (Fiber& f : fibers) f.state = State::ready;
  }
}

}  // namespace

void submit(cudaStream_t stream, std::function<void()> work) {
  if (!stream) return work();
  Stream* s = (Stream*)stream;
  (s->recording ? *s->recording : s->waiting).push_back(std::move(work));
}

void set_seed(uint64_t seed) { random_state = seed * 0x9E3779B97F4A7C15ull + 1; }

void wait_for_block() { wait_in(State::at_block); }

const uint64_t* wait_for_warp(unsigned mask, WarpOp op, uint64_t value) {
  Fiber& f = fibers[current];
  f.mask = mask;
  f.op = op;
  f.value = value;
  const int me = current;
  wait_in(State::at_warp);
  return &exchanged[me / 32 * 32];
}

int lane() { return current % 32; }

void expect_aligned(const char* instruction, const void* address, int bytes) {
  if ((uintptr_t)address % (uintptr_t)bytes) snprintf(error, sizeof error, "%s at an address that is no multiple of %d bytes", instruction, bytes);
}

static void copy(const Copy& c) {
  if (c.from) memcpy(c.to, c.from, c.bytes);
  else memset(c.to, 0, c.bytes);
}
void copy_now_or_later(void* to, const void* from, size_t bytes) {
  const Copy c = {to, from, bytes};
  if (random_below(2)) copy(c);
  else fibers[current].copies.push_back(c);
}
void finish_copies() {
  for (const Copy& c : fibers[current].copies) copy(c);
  fibers[current].copies.clear();
}

void launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, unsigned char* static_begin, unsigned char* static_end,
            const std::function<void()>& body) {
  std::lock_guard<std::mutex> lock(one_launch_at_a_time);
  const int64_t threads = (int64_t)block.x * block.y * block.z, blocks = (int64_t)grid.x * grid.y * grid.z;
  const size_t most_shared = allowed_shared.count(kernel) ? allowed_shared[kernel] : kShared;
  if (threads < 1 || threads > kMostThreads || blocks < 1 || grid.y > 65535 || grid.z > 65535 || block.z > 64 || shared_bytes > most_shared) {
    snprintf(error, sizeof error, "invalid launch: grid (%u, %u, %u), block (%u, %u, %u), %zu bytes of shared memory", grid.x, grid.y, grid.z,
             block.x, block.y, block.z, shared_bytes);
    return;
  }
  std::vector<uint64_t> shared((shared_bytes + 7) / 8 + 1);  // exactly as many bytes as asked for, so that AddressSanitizer sees the end
  dynamic_shared = (unsigned char*)shared.data();
  kernel_body = &body;
  grid_size = grid;
  block_size = block;
  fibers.assign((size_t)threads, Fiber{});
  exchanged.assign((size_t)(threads + 31) / 32 * 32, 0);
  order.resize((size_t)threads);
  std::iota(order.begin(), order.end(), 0);
  std::vector<int64_t> turns((size_t)blocks);
  std::iota(turns.begin(), turns.end(), 0);
  shuffle(turns);
  for (int64_t turn : turns) {
    block_index = {turn % grid.x, turn / grid.x % grid.y, turn / grid.x / grid.y};
    memset(shared.data(), 0xFF, shared.size() * sizeof(uint64_t));
    memset(static_begin, 0xFF, (size_t)(static_end - static_begin));
    shuffle(order);
    for (int i = 0; i < threads; i++) {
      fibers[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
      start(i);
    }
    if (!run_block()) return;
  }
}

}  // namespace sim
}  // namespace hk

cudaError_t cudaGetLastError() { return hk::sim::error[0] ? 1 : cudaSuccess; }

cudaError_t hk_sim_allow_shared(const void* kernel, int bytes) {
  if ((size_t)bytes > hk::sim::kMostShared) {
    snprintf(hk::sim::error, sizeof hk::sim::error, "a block has at most %zu bytes of shared memory", hk::sim::kMostShared);
    return 1;
  }
  hk::sim::allowed_shared[kernel] = (size_t)bytes;
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t) {  // reading the error clears it
  static char text[sizeof hk::sim::error];
  memcpy(text, hk::sim::error, sizeof text);
  hk::sim::error[0] = 0;
  return text;
}
