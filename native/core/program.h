// A compiled program: a checked list of ops over planned memory, run as one call.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/store.h"
#include "hubertkit/backend.h"

namespace hk {

enum class ValueKind { feed, temporary, parameter, gradient, flat_values, flat_gradients, flat_m, flat_v };

struct ValueSpec {
  ValueKind kind = ValueKind::temporary;
  hk_tensor tensor = {};
  std::string name;          // parameter and gradient: which one
  bool accumulates = false;  // ops add to it: zero-filled before its first writer when it is a temporary
  bool fetch = false;        // returned by run
};

struct OpSpec {
  std::string kind, label;
  std::vector<int> inputs, outputs;  // value ids, -1: absent
  std::vector<std::pair<std::string, double>> attributes;
  int gate = -1;  // runs only when this gate is open; -1: always
};

struct MemoryUse { size_t arena = 0, scratch = 0, buffers = 0; };

class Program {
 public:
  // Validates everything and plans the memory; throws Error. Call on the compute thread: the GEMM primitives are made for its
  // number of threads.
  Program(std::shared_ptr<Store> store, std::vector<ValueSpec> values, std::vector<OpSpec> ops, int n_gates);
  ~Program();

  const std::vector<int>& feeds() const { return feeds_; }      // value ids in order
  const std::vector<int>& fetches() const { return fetches_; }
  const hk_tensor& tensor(int value) const { return values_[value].tensor; }
  size_t bytes(int value) const;
  void* buffer(int value) const { return buffers_[value]->host(); }  // feeds and fetches, on the host: owned by the program
  const MemoryUse& memory() const { return memory_; }
  std::vector<hk_cost> costs() const;
  Store& store() const { return *store_; }
  int n_gates() const { return n_gates_; }

  // One pass over the ops. `op_seconds`, when given, has one entry for each op. On the compute thread. Where the back-end can record,
  // each piece is recorded the second time that it runs, once with its gate open and once with it closed, and played from then on.
  void run(const uint8_t* gates, uint64_t seed, uint64_t draw, double* op_seconds);

  std::atomic<bool> busy{false};

 private:
  struct Op {
    OpSpec spec;
    const hk_op* kernel = nullptr;
    void* state = nullptr;
    size_t scratch = 0;
    std::vector<hk_tensor> inputs, outputs;
    std::vector<hk_attribute> attributes;
    std::vector<int> zero_first;  // accumulating temporaries that this op is the first to write
  };
  void check(const OpSpec& op, size_t index);
  void plan();
  void prepare(Op& op);
  hk_call call_of(Op& op);
  void bind();  // data pointers, whenever the arena has moved
  struct Recording {
    bool  again = false;  // it has run before: what a device loads at the first launch is there
    void* handle = nullptr;
  };
  // Ops that follow each other and depend on one gate at most, so that whatever pattern of gates comes, no more than two recordings
  // of each piece are ever made. A single op may depend on two gates.
  struct Piece {
    size_t begin, end;
    std::vector<int> gates;
    std::vector<Recording> recordings;  // by the bits of `gates`
  };
  void cut();  // the ops into pieces
  void issue(const Piece& piece, const uint8_t* gates, double* op_seconds);  // feeds up before the first op, fetches down after the last
  void run_op(Op& op, const uint8_t* gates);
  void play(Piece& piece, const uint8_t* gates);
  void* record(const Piece& piece, const uint8_t* gates);
  void forget_recordings();

  std::shared_ptr<Store> store_;
  std::vector<ValueSpec> values_;
  std::vector<Op> ops_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<Buffer> random_;     // {seed, draw}
  std::vector<Piece> pieces_;  // at least one
  std::vector<size_t> offsets_;  // temporaries: place in the arena
  std::vector<int> feeds_, fetches_;
  MemoryUse memory_;
  const void* bound_ = nullptr;
  int n_gates_;
};

}  // namespace hk
