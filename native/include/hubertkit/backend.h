// The contract between the executor (native/core) and a back-end (native/cpu, native/cuda): plain C, no Node, no library types.
//
// An op is three functions. `prepare` runs once when a program is compiled: it checks dtypes, shapes and attributes (a wrong
// call must be refused here, with a message; `run` trusts it), says how much scratch it wants and may create state (a oneDNN
// primitive). `run` computes; it allocates nothing. `release` frees the state.
//
// Tensors are dense and row-major. An absent optional input or output has rank -1 and data NULL.
// An output that holds the gradient of a parameter is ADDED to (+=), never overwritten: gradients accumulate over
// micro-batches. The executor zero-fills such outputs itself where they are intermediates.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HK_BACKEND_API = 1, HK_MAX_RANK = 6, HK_ERROR_BYTES = 400 };

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
  const uint8_t*      gates;   // 1: open. Gates are numbered by the program; `select` reads one
  void*    scratch;            // as many bytes as prepare asked for, 64-byte aligned; holds nothing between runs
  void*    state;              // what prepare created
  uint64_t seed, draw;         // random numbers: Philox keyed by seed, counted by (draw, attribute "stream", element)
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

typedef struct hk_backend {
  int         api_version;
  const char* name;            // "cpu"
  const char* variant;         // "avx512"
  const hk_op* (*find)(const char* kind);
  void* (*allocate)(size_t bytes);   // 64-byte aligned, zero-filled; NULL when out of memory
  void  (*deallocate)(void* data, size_t bytes);
  void  (*set_threads)(int threads);
} hk_backend;

#ifdef __cplusplus
}
#endif
