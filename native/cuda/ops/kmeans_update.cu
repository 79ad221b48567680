// kmeans_update: the contract is in ops/kmeans_update.h. A counting sort lists the rows by label, chunk by chunk of the rows, without atomics:
// each thread counts one label at a time in a chunk that lies in shared memory (N K comparisons, 1 / D of what the assignment costs). The
// list of each cluster is cut into pieces of equal length, so that large clusters are shared out; pieces are summed, then each cluster's
// pieces. The order of additions depends on the labels alone.
#include "cuda/reduce.cuh"
#include "ops/kmeans_update.h"

namespace hk {
namespace HK_ISA {
namespace {

const int kChunk = 1024;    // rows counted by a block
const int kPiece = 128;     // rows of one cluster summed by a block
const int kColumns = 128;   // threads of that block

int64_t chunks_of(const UpdateSizes& s) { return blocks_for(s.N, kChunk); }
int64_t most_pieces(const UpdateSizes& s) { return s.N / kPiece + s.K; }

struct Layout {
  int32_t* at;         // [chunks, K] rows with label k in the chunk, then in all chunks before it
  int32_t *row, *piece;  // [K+1] where the list and the pieces of a cluster begin
  int32_t* members;    // [N]
  double*  sums;       // [pieces, D]
};
Layout layout(const UpdateSizes& s, Scratch& scratch) {
  Layout l;
  l.at = scratch.take<int32_t>(chunks_of(s) * s.K);
  l.row = scratch.take<int32_t>(s.K + 1);
  l.piece = scratch.take<int32_t>(s.K + 1);
  l.members = scratch.take<int32_t>(s.N);
  l.sums = scratch.take<double>(most_pieces(s) * s.D);
  return l;
}

// The labels of this block's chunk, -1 behind the last row.
__device__ void load_chunk(const int32_t* labels, int64_t n, int32_t (&chunk)[kChunk]) {
  const int64_t first = (int64_t)blockIdx.x * kChunk;
  for (int i = (int)threadIdx.x; i < kChunk; i += kBlock) chunk[i] = first + i < n ? labels[first + i] : -1;
  __syncthreads();
}

// grid chunks, block kBlock
__global__ void count_kernel(const int32_t* labels, UpdateSizes s, int32_t* at) {
  __shared__ int32_t chunk[kChunk];
  load_chunk(labels, s.N, chunk);
  for (int64_t k = threadIdx.x; k < s.K; k += kBlock) {
    int32_t rows = 0;
    for (int i = 0; i < kChunk; i++) rows += chunk[i] == k;
    at[blockIdx.x * s.K + k] = rows;
  }
}

// grid over k. Counts of chunks become sums over the chunks before; row[k] becomes the number of rows.
__global__ void add_chunks_kernel(int64_t chunks, int64_t clusters, int32_t* at, int32_t* row) {
  const int64_t k = element_index();
  if (k >= clusters) return;
  int32_t rows = 0;
  for (int64_t i = k; i < chunks * clusters; i += clusters) {
    const int32_t here = at[i];
    at[i] = rows;
    rows += here;
  }
  row[k] = rows;
}

__device__ int32_t pieces_of(int32_t rows) { return (rows + kPiece - 1) / kPiece; }

// One block. Numbers of rows become the places where lists and pieces begin; each thread goes over neighbouring clusters.
__global__ void begin_kernel(int64_t clusters, int32_t* row, int32_t* piece) {
  __shared__ int32_t rows_before[kBlock + 1], pieces_before[kBlock + 1];
  const int64_t each = (clusters + kBlock - 1) / kBlock, first = threadIdx.x * each;
  const int64_t end = first + each < clusters ? first + each : clusters;
  int32_t rows = 0, pieces = 0;
  for (int64_t k = first; k < end; k++) {
    rows += row[k];
    pieces += pieces_of(row[k]);
  }
  rows_before[threadIdx.x + 1] = rows;
  pieces_before[threadIdx.x + 1] = pieces;
  __syncthreads();
  if (threadIdx.x == 0) {
    rows_before[0] = pieces_before[0] = 0;
    for (int i = 0; i < kBlock; i++) {
      rows_before[i + 1] += rows_before[i];
      pieces_before[i + 1] += pieces_before[i];
    }
    row[clusters] = rows_before[kBlock];
    piece[clusters] = pieces_before[kBlock];
  }
  __syncthreads();
  rows = rows_before[threadIdx.x];
  pieces = pieces_before[threadIdx.x];
  for (int64_t k = first; k < end; k++) {
    const int32_t here = row[k];
    row[k] = rows;
    piece[k] = pieces;
    rows += here;
    pieces += pieces_of(here);
  }
}

// grid chunks, block kBlock
__global__ void list_kernel(const int32_t* labels, UpdateSizes s, const int32_t* at, const int32_t* row, int32_t* members) {
  __shared__ int32_t chunk[kChunk];
  load_chunk(labels, s.N, chunk);
  for (int64_t k = threadIdx.x; k < s.K; k += kBlock) {
    int32_t* next = members + row[k] + at[blockIdx.x * s.K + k];
    for (int i = 0; i < kChunk; i++)
      if (chunk[i] == k) *next++ = (int32_t)(blockIdx.x * kChunk + i);
  }
}

// The last of the ascending begin[0..n] that is not above `place`.
__device__ int64_t cluster_at(const int32_t* begin, int64_t n, int64_t place) {
  int64_t low = 0, high = n;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (begin[middle] <= place) low = middle;
    else high = middle;
  }
  return low;
}

// grid (pieces, D / kColumns), block kColumns
__global__ void sum_kernel(const float* x, UpdateSizes s, const int32_t* row, const int32_t* piece, const int32_t* members, double* sums) {
  const int64_t p = blockIdx.x, d = (int64_t)blockIdx.y * kColumns + threadIdx.x;
  if (p >= piece[s.K] || d >= s.D) return;
  const int64_t k = cluster_at(piece, s.K, p), begin = row[k] + (p - piece[k]) * kPiece;
  const int64_t end = begin + kPiece < row[k + 1] ? begin + kPiece : row[k + 1];
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin; i < end; i++) sum += x[members[i] * s.D + d];
  sums[p * s.D + d] = sum;
}

// grid over K D
__global__ void move_kernel(const float* centroids, const int32_t* weights, UpdateSizes s, const int32_t* row, const int32_t* piece, const double* sums,
                            float* moved, int32_t* absorbed) {
  const int64_t e = element_index(), k = e / s.D, d = e % s.D;
  if (k >= s.K) return;
  const int32_t all = absorbed_rows(weights[k], row[k + 1] - row[k]);
  double sum = 0;
  for (int64_t p = piece[k]; p < piece[k + 1]; p++) sum += sums[p * s.D + d];
  moved[e] = moved_centroid(centroids[e], weights[k], sum, all);
  if (d == 0) absorbed[k] = all;
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_kmeans_update(call)) return 1;
  Scratch scratch(nullptr);
  layout(update_sizes(call), scratch);
  *scratch_bytes = scratch.bytes();
  return 0;
}

int run(hk_call* call) {
  const UpdateSizes s = update_sizes(call);
  Scratch scratch(call->scratch);
  const Layout l = layout(s, scratch);
  const hk_tensor *in = call->inputs, *out = call->outputs;
  const cudaStream_t stream = stream_of(call);
  const dim3 chunks((unsigned)chunks_of(s)), pieces((unsigned)most_pieces(s), (unsigned)blocks_for(s.D, kColumns));
  HK_LAUNCH(count_kernel, chunks, dim3(kBlock), 0, stream, i32(in[1]), s, l.at);
  HK_LAUNCH(add_chunks_kernel, element_grid(s.K), dim3(kBlock), 0, stream, chunks_of(s), s.K, l.at, l.row);
  HK_LAUNCH(begin_kernel, dim3(1), dim3(kBlock), 0, stream, s.K, l.row, l.piece);
  HK_LAUNCH(list_kernel, chunks, dim3(kBlock), 0, stream, i32(in[1]), s, l.at, l.row, l.members);
  HK_LAUNCH(sum_kernel, pieces, dim3(kColumns), 0, stream, f32(in[0]), s, l.row, l.piece, l.members, l.sums);
  HK_LAUNCH(move_kernel, element_grid(s.K * s.D), dim3(kBlock), 0, stream, f32(in[2]), i32(in[3]), s, l.row, l.piece, l.sums, f32(out[0]), i32(out[1]));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(kmeans_update, {"kmeans_update", prepare, run, nullptr, kmeans_update_cost})
