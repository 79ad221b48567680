#include "core/program.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace hk {
namespace {

const size_t kAlign = 64;
size_t align(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// The gates that an op depends on: the one it stands behind, and the one that it reads.
std::vector<int> gates_of(const OpSpec& op, int n_gates) {
  std::vector<int> gates;
  if (op.gate >= 0) gates.push_back(op.gate);
  for (const auto& a : op.attributes) {
    if (a.first != "gate") continue;
    if (a.second >= 0 && a.second < n_gates && a.second != op.gate) gates.push_back((int)a.second);
    break;
  }
  return gates;
}

// An op of which each element of the output is made of the same element of the inputs, and may lie there (ops/elementwise.h).
bool works_in_place(const OpSpec& op) {
  for (const char* kind : {"add", "scale", "gelu", "gelu_grad", "dropout"})
    if (op.kind == kind) return true;
  return false;
}

bool in_arena(const ValueSpec& v) { return v.kind == ValueKind::temporary && !v.fetch; }

}  // namespace

size_t Program::bytes(int value) const { return bytes_of(values_[value].tensor); }

Program::Program(std::shared_ptr<Store> store, std::vector<ValueSpec> values, std::vector<OpSpec> ops, int n_gates)
    : store_(std::move(store)), values_(std::move(values)), n_gates_(n_gates) {
  const hk_backend* backend = store_->backend();
  require(backend, backend->enter(backend), "using the device");
  buffers_.resize(values_.size());
  random_ = std::make_unique<Buffer>(backend, 2 * sizeof(uint64_t), "a program");
  for (size_t i = 0; i < values_.size(); i++) {
    const ValueSpec& v = values_[i];
    if (v.kind == ValueKind::parameter || v.kind == ValueKind::gradient) {
      const Parameter& p = store_->at(v.name);
      std::vector<int64_t> shape(v.tensor.shape, v.tensor.shape + v.tensor.rank);
      if (shape != p.shape || v.tensor.dtype != HK_F32)
        throw Error("HK_SHAPE", "parameter '" + v.name + "' has another shape in the store than in the graph");
      if (v.kind == ValueKind::gradient) store_->flat(Which::gradients);
    }
    const Which flats[] = {Which::values, Which::gradients, Which::m, Which::v};
    if (v.kind >= ValueKind::flat_values) {
      if (v.tensor.rank != 1 || v.tensor.shape[0] != store_->size() || v.tensor.dtype != HK_F32)
        throw Error("HK_SHAPE", "a flat view of the store has " + std::to_string(store_->size()) + " floats");
      store_->flat(flats[(int)v.kind - (int)ValueKind::flat_values]);
    }
    if (v.kind == ValueKind::feed || (v.kind == ValueKind::temporary && v.fetch)) {
      if (v.kind == ValueKind::feed) feeds_.push_back((int)i);
      if (v.fetch) fetches_.push_back((int)i);
      buffers_[i] = std::make_unique<Buffer>(backend, std::max<size_t>(bytes_of(v.tensor), 1), "a feed or fetch");
      memory_.buffers += align(bytes_of(v.tensor));
    } else if (v.fetch) {
      throw Error("HK_ARGUMENT", "only temporaries and feeds can be fetched");
    }
  }
  ops_.reserve(ops.size());
  std::vector<char> written(values_.size(), 0);
  for (size_t i = 0; i < ops.size(); i++) {
    check(ops[i], i);
    Op op;
    op.spec = std::move(ops[i]);
    for (int id : op.spec.inputs)
      if (id >= 0 && values_[id].kind == ValueKind::temporary && !written[id])
        throw Error("HK_ARGUMENT", op.spec.label + " reads a value that no op before it writes");
    for (int id : op.spec.outputs) {
      if (id < 0) continue;
      const bool again = written[id];
      if (values_[id].kind == ValueKind::temporary && again && !values_[id].accumulates)
        throw Error("HK_ARGUMENT", op.spec.label + " writes a value that is already written");
      if (values_[id].kind == ValueKind::temporary && values_[id].accumulates && !again) op.zero_first.push_back(id);
      written[id] = 1;
    }
    ops_.push_back(std::move(op));
    prepare(ops_.back());
  }
  for (int id : fetches_)
    if (!written[id] && values_[id].kind == ValueKind::temporary)
      throw Error("HK_ARGUMENT", "a fetched value is never written");
  plan();
  cut();
}

Program::~Program() {
  forget_recordings();
  for (Op& op : ops_)
    if (op.state && op.kernel->release) op.kernel->release(op.state);
}

void Program::check(const OpSpec& op, size_t index) {
  const std::string where = "op " + std::to_string(index) + " (" + op.kind + ", " + op.label + ")";
  for (const auto* list : {&op.inputs, &op.outputs})
    for (int id : *list)
      if (id < -1 || id >= (int)values_.size()) throw Error("HK_ARGUMENT", where + ": no value has id " + std::to_string(id));
  for (int id : op.outputs) {
    if (id < 0) continue;
    if (values_[id].kind != ValueKind::temporary && values_[id].kind != ValueKind::gradient)
      throw Error("HK_ARGUMENT", where + ": an output must be a temporary or a gradient");
    if (std::find(op.inputs.begin(), op.inputs.end(), id) != op.inputs.end() ||
        std::count(op.outputs.begin(), op.outputs.end(), id) > 1)
      throw Error("HK_ARGUMENT", where + ": an output must not be another input or output of the same op");
  }
  if (op.gate < -1 || op.gate >= n_gates_) throw Error("HK_ARGUMENT", where + ": no gate " + std::to_string(op.gate));
}

hk_call Program::call_of(Op& op) {
  hk_call call = {};
  call.n_inputs = (int)op.inputs.size();
  call.n_outputs = (int)op.outputs.size();
  call.n_attributes = (int)op.attributes.size();
  call.n_gates = n_gates_;
  call.inputs = op.inputs.data();
  call.outputs = op.outputs.data();
  call.attributes = op.attributes.data();
  call.state = op.state;
  return call;
}

void Program::prepare(Op& op) {
  op.kernel = store_->backend()->find(op.spec.kind.c_str());
  if (!op.kernel)
    throw Error("HK_NAME", "the " + std::string(store_->backend()->name) + " back-end has no op '" + op.spec.kind + "'");
  hk_tensor absent = {};
  absent.rank = -1;
  for (int id : op.spec.inputs) op.inputs.push_back(id < 0 ? absent : values_[id].tensor);
  for (int id : op.spec.outputs) op.outputs.push_back(id < 0 ? absent : values_[id].tensor);
  for (const auto& a : op.spec.attributes) op.attributes.push_back({a.first.c_str(), a.second});
  hk_call call = call_of(op);
  if (op.kernel->prepare(&call, &op.scratch, &op.state) != 0)
    throw Error("HK_SHAPE", std::string(call.error) + " (" + op.spec.label + ")");
  memory_.scratch = std::max(memory_.scratch, align(op.scratch));
}

// Places temporaries in one arena: largest first, each at the lowest offset that is free over its whole lifetime. A result of an
// op that works in place lies where an input lies that nothing reads afterwards.
void Program::plan() {
  struct Life { std::vector<int> values; size_t bytes; int first, last; };
  std::vector<Life> lives;
  std::vector<int> slot(values_.size(), -1);
  for (size_t i = 0; i < ops_.size(); i++) {
    for (const auto* list : {&ops_[i].spec.outputs, &ops_[i].spec.inputs})
      for (int id : *list) {
        if (id < 0 || !in_arena(values_[id])) continue;
        if (slot[id] < 0) {
          slot[id] = (int)lives.size();
          lives.push_back({{id}, align(bytes_of(values_[id].tensor)), (int)i, (int)i});
        }
        lives[slot[id]].last = (int)i;
      }
  }
  for (int i = 0; i < (int)ops_.size(); i++) {
    if (!works_in_place(ops_[i].spec)) continue;
    const int result = ops_[i].spec.outputs[0];
    if (result < 0 || slot[result] < 0 || values_[result].accumulates || lives[slot[result]].first != i) continue;
    Life& own = lives[slot[result]];
    for (int id : ops_[i].spec.inputs) {
      if (id < 0 || slot[id] < 0 || slot[id] == slot[result]) continue;
      Life& life = lives[slot[id]];
      if (life.last != i || life.bytes != own.bytes) continue;
      life.last = own.last;
      life.values.push_back(result);
      own.values.clear();
      slot[result] = slot[id];
      break;
    }
  }
  lives.erase(std::remove_if(lives.begin(), lives.end(), [](const Life& life) { return life.values.empty(); }), lives.end());
  std::stable_sort(lives.begin(), lives.end(), [](const Life& a, const Life& b) { return a.bytes > b.bytes; });
  offsets_.assign(values_.size(), 0);
  struct Place { const Life* life; size_t begin, end; };
  std::vector<Place> placed;
  for (const Life& life : lives) {
    std::vector<std::pair<size_t, size_t>> taken;
    for (const Place& other : placed)
      if (other.life->first <= life.last && life.first <= other.life->last) taken.push_back({other.begin, other.end});
    std::sort(taken.begin(), taken.end());
    size_t at = 0;
    for (const auto& t : taken) {
      if (at + life.bytes <= t.first) break;
      at = std::max(at, t.second);
    }
    for (int id : life.values) offsets_[id] = at;
    memory_.arena = std::max(memory_.arena, at + life.bytes);
    placed.push_back({&life, at, at + life.bytes});
  }
}

void Program::bind() {
  store_->arena.reserve(store_->backend(), memory_.arena + memory_.scratch + kAlign, "the program");
  if (bound_ == store_->arena.data()) return;
  forget_recordings();
  char* arena = (char*)store_->arena.data();
  const auto address = [&](int id) -> void* {
    const ValueSpec& v = values_[id];
    switch (v.kind) {
      case ValueKind::feed: return buffers_[id]->data();
      case ValueKind::temporary: return v.fetch ? buffers_[id]->data() : arena + offsets_[id];
      case ValueKind::parameter: return store_->flat(Which::values) + store_->at(v.name).offset;
      case ValueKind::gradient: return store_->flat(Which::gradients) + store_->at(v.name).offset;
      case ValueKind::flat_values: return store_->flat(Which::values);
      case ValueKind::flat_gradients: return store_->flat(Which::gradients);
      case ValueKind::flat_m: return store_->flat(Which::m);
      case ValueKind::flat_v: return store_->flat(Which::v);
    }
    return nullptr;
  };
  for (Op& op : ops_) {
    for (size_t i = 0; i < op.inputs.size(); i++)
      if (op.spec.inputs[i] >= 0) op.inputs[i].data = address(op.spec.inputs[i]);
    for (size_t i = 0; i < op.outputs.size(); i++)
      if (op.spec.outputs[i] >= 0) op.outputs[i].data = address(op.spec.outputs[i]);
  }
  for (size_t i = 0; i < values_.size(); i++) values_[i].tensor.data = address((int)i);
  bound_ = arena;
}

void Program::run(const uint8_t* gates, uint64_t seed, uint64_t draw, double* op_seconds) {
  const hk_backend* backend = store_->backend();
  require(backend, backend->enter(backend), "using the device");
  bind();
  uint64_t* random = (uint64_t*)random_->host();
  random[0] = seed;
  random[1] = draw;
  for (Piece& piece : pieces_) {
    if (backend->begin_recording && !op_seconds) play(piece, gates);
    else issue(piece, gates, op_seconds);
  }
  require(backend, backend->synchronize(backend, store_->stream()), "the program");
}

void Program::issue(const Piece& piece, const uint8_t* gates, double* op_seconds) {
  const hk_backend* backend = store_->backend();
  if (piece.begin == 0) {
    random_->upload(store_->stream());
    for (int id : feeds_) buffers_[id]->upload(store_->stream());
  }
  for (size_t i = piece.begin; i < piece.end; i++) {
    Op& op = ops_[i];
    if (op.spec.gate >= 0 && !gates[op.spec.gate]) continue;
    const auto begin = std::chrono::steady_clock::now();
    run_op(op, gates);
    if (!op_seconds) continue;
    require(backend, backend->synchronize(backend, store_->stream()), op.spec.label.c_str());
    op_seconds[i] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  if (piece.end < ops_.size()) return;
  for (int id : fetches_) buffers_[id]->download(store_->stream());
}

void Program::run_op(Op& op, const uint8_t* gates) {
  const hk_backend* backend = store_->backend();
  for (int id : op.zero_first)
    require(backend, backend->fill_zero(backend, store_->stream(), values_[id].tensor.data, bytes_of(values_[id].tensor)), "zeroing");
  hk_call call = call_of(op);
  call.gates = gates;
  call.scratch = (char*)store_->arena.data() + memory_.arena;
  call.random = (const uint64_t*)random_->data();
  call.stream = store_->stream();
  if (op.kernel->run(&call) != 0)
    throw Error(call.stream ? "HK_DEVICE" : "HK_ARGUMENT", std::string(call.error) + " (" + op.spec.label + ")");
}

void Program::cut() {
  pieces_.push_back({0, 0, {}, {}});
  for (const Op& op : ops_) {
    const std::vector<int> read = gates_of(op.spec, n_gates_);
    std::vector<int> all = pieces_.back().gates;
    for (int gate : read)
      if (std::find(all.begin(), all.end(), gate) == all.end()) all.push_back(gate);
    const size_t end = pieces_.back().end;
    if (all.size() > 1 && end > pieces_.back().begin) pieces_.push_back({end, end, read, {}});
    else pieces_.back().gates = all;
    pieces_.back().end++;
  }
  for (Piece& piece : pieces_) piece.recordings.resize((size_t)1 << piece.gates.size());
}

void Program::play(Piece& piece, const uint8_t* gates) {
  const hk_backend* backend = store_->backend();
  size_t pattern = 0;
  for (size_t i = 0; i < piece.gates.size(); i++) pattern |= (size_t)(gates[piece.gates[i]] != 0) << i;
  Recording& recording = piece.recordings[pattern];
  if (!recording.again) {
    issue(piece, gates, nullptr);
    recording.again = true;
    return;
  }
  if (!recording.handle) recording.handle = record(piece, gates);
  require(backend, backend->replay(backend, store_->stream(), recording.handle), "starting the program");
}

void* Program::record(const Piece& piece, const uint8_t* gates) {
  const hk_backend* backend = store_->backend();
  void* recording = nullptr;
  require(backend, backend->begin_recording(backend, store_->stream()), "recording the program");
  try {
    issue(piece, gates, nullptr);
  } catch (const Error&) {
    if (backend->end_recording(backend, store_->stream(), &recording) == 0) backend->destroy_recording(backend, recording);
    throw;
  }
  require(backend, backend->end_recording(backend, store_->stream(), &recording), "recording the program");
  return recording;
}

void Program::forget_recordings() {
  for (Piece& piece : pieces_)
    for (Recording& r : piece.recordings) {
      if (r.handle) store_->backend()->destroy_recording(store_->backend(), r.handle);
      r = {};
    }
}

std::vector<hk_cost> Program::costs() const {
  std::vector<hk_cost> costs;
  for (const Op& op : ops_) {
    hk_call call = const_cast<Program*>(this)->call_of(const_cast<Op&>(op));
    costs.push_back(op.kernel->cost ? op.kernel->cost(&call) : hk_cost{0, 0});
  }
  return costs;
}

}  // namespace hk
