// The contract between the executor (native/core) and a back-end (native/cpu, native/cuda): plain C, no Node, no library types.
//
// An op is three functions. `prepare` runs once when a program is compiled: it checks dtypes, shapes and attributes (a wrong
// call must be refused here, with a message; `run` trusts it), says how much scratch it wants and may create state (a oneDNN
// primitive). `run` computes; it allocates nothing. `release` frees the state.
//
// Tensors are dense and row-major. An absent optional input or output has rank -1 and data NULL.
// An output that holds the gradient of a parameter is ADDED to (+=), never overwritten: gradients accumulate over
// micro-batches. The executor zero-fills such outputs itself where they are intermediates.
//
// On a device with memory of its own, all data pointers of a call are device memory and `run` only puts work on the stream: it
// must not wait, nor read tensors on the host. What it did may be recorded and played again with other contents of the feeds, of
// the parameters and of `random`; it depends on nothing else but the gates.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HK_BACKEND_API = 2, HK_MAX_RANK = 6, HK_ERROR_BYTES = 400 };

typedef enum { HK_F32 = 0, HK_BF16 = 1, HK_I32 = 2, HK_U8 = 3 } hk_dtype;

typedef struct hk_tensor {
  void*   data;                // NULL while preparing
  int32_t dtype;               // hk_dtype
  int32_t rank;                // -1: absent
  int64_t shape[HK_MAX_RANK];
} hk_tensor;

typedef struct hk_attribute {
  const char* name;
  double      value;
} hk_attribute;

typedef struct hk_call {
  int32_t n_inputs, n_outputs, n_attributes, n_gates;
  const hk_tensor*    inputs;
  const hk_tensor*    outputs;
  const hk_attribute* attributes;
  const uint8_t*      gates;   // 1: open. Gates are numbered by the program; an op may read the one that its attribute `gate` names
  void*    scratch;            // as many bytes as prepare asked for, 64-byte aligned; holds nothing between runs
  void*    state;              // what prepare created
  const uint64_t* random;      // {seed, draw}, in the memory of the tensors: Philox keyed by seed, counted by (draw, attribute
                               // "stream", element)
  void*    stream;             // cudaStream_t; NULL on the CPU
  char     error[HK_ERROR_BYTES];
} hk_call;

typedef struct hk_cost { double flops, bytes; } hk_cost;

typedef struct hk_op {
  const char* kind;
  int     (*prepare)(hk_call* call, size_t* scratch_bytes, void** state);  // 0: fine; else call->error says why
  int     (*run)(hk_call* call);                                           // 0: fine
  void    (*release)(void* state);                                         // may be NULL
  hk_cost (*cost)(const hk_call* call);                                    // floor: FLOP and bytes that must move; may be NULL
} hk_op;

// Functions that return int: 0 is fine, else `last_error` of the same thread says what happened. Those from `upload` on put their
// work on the stream; only `synchronize` waits for it. All may be called from any thread.
typedef struct hk_backend hk_backend;
struct hk_backend {
  int         api_version;
  const char* name;            // "cpu", "cuda"
  const char* variant;         // "avx512", "NVIDIA H200, sm_90"
  int         device;          // its number, 0 on the CPU
  const hk_op* (*find)(const char* kind);
  void* (*allocate)(const hk_backend* self, size_t bytes);  // 64-byte aligned, zero-filled; NULL when out of memory, or else
                                                            // with a `last_error` that is not empty
  void  (*deallocate)(const hk_backend* self, void* data, size_t bytes);
  void  (*memory)(const hk_backend* self, size_t* free, size_t* total);  // bytes of the device
  void  (*set_threads)(int threads);
  const char* (*last_error)(const hk_backend* self);

  // Host memory that feeds and fetches pass through, zero-filled, got like the device's. NULL: the device reads and writes the host's own memory.
  void* (*allocate_staging)(const hk_backend* self, size_t bytes);
  void  (*deallocate_staging)(const hk_backend* self, void* data, size_t bytes);

  int  (*create_stream)(const hk_backend* self, void** stream);
  void (*destroy_stream)(const hk_backend* self, void* stream);
  int  (*enter)(const hk_backend* self);  // before ops are prepared or run on a thread
  int  (*upload)(const hk_backend* self, void* stream, void* to, const void* from, size_t bytes);
  int  (*download)(const hk_backend* self, void* stream, void* to, const void* from, size_t bytes);
  int  (*fill_zero)(const hk_backend* self, void* stream, void* data, size_t bytes);
  int  (*synchronize)(const hk_backend* self, void* stream);

  // What a stream is given between begin and end is recorded, not run. NULL: the back-end does not record.
  int  (*begin_recording)(const hk_backend* self, void* stream);
  int  (*end_recording)(const hk_backend* self, void* stream, void** recording);
  int  (*replay)(const hk_backend* self, void* stream, void* recording);
  void (*destroy_recording)(const hk_backend* self, void* recording);
};

#ifdef __cplusplus
}
#endif
