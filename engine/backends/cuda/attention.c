/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attention. Without a mask it is computed by cuDNN: in 16 bits as a graph of one operation, in
 * e4m3 as a graph of its parts. Otherwise a kernel of this back-end computes it. */
#include "engine/backends/cuda/graph.h"
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

#include <string.h>

/* Width of the released model's heads. */
#define RELEASED_HEAD 128

/* Identifiers of the graph's tensors. */
enum
{
  UID_Q = 1,
  UID_K,
  UID_V,
  UID_O,
  UID_SCALE,
  UID_DESCALE_Q,
  UID_DESCALE_K,
  UID_DESCALE_V,
  UID_SCALE_P,
  UID_DESCALE_P,
  UID_SCALE_O,
  UID_AMAX_P,
  UID_AMAX_O,
};

typedef struct
{
  gint64 lq, lk, heads, d;
  gint64 q[2], k[2], v[2], o[2]; /* the strides of rows and of heads */
  AvatarDType dtype;
  float scale;
} Key;

static cudnnDataType_t
dnn_type (AvatarDType dtype)
{
  switch (dtype) {
    case AVATAR_F16:
      return CUDNN_DATA_HALF;
    case AVATAR_F8_E4M3:
      return CUDNN_DATA_FP8_E4M3;
    default:
      return CUDNN_DATA_BFLOAT16;
  }
}

/* Returns the descriptor of an operand [1, heads, rows, d]. */
static cudnnBackendDescriptor_t
make_operand (AvatarCudaGraph *g, gint64 uid, const Key *key, gint64 rows, const gint64 stride[2])
{
  const gint64 dims[4] = { 1, key->heads, rows, key->d };
  const gint64 strides[4] = { rows * stride[0], stride[1], stride[0], 1 };

  return avatar_cuda_graph_tensor (g, uid, dnn_type (key->dtype), 4, dims, strides);
}

/* Builds o = softmax (q k^T scale) v in 16 bits, as one operation. */
static void
build_16bit (AvatarCudaGraph *g, const Key *key)
{
  cudnnBackendDescriptor_t q = make_operand (g, UID_Q, key, key->lq, key->q);
  cudnnBackendDescriptor_t k = make_operand (g, UID_K, key, key->lk, key->k);
  cudnnBackendDescriptor_t v = make_operand (g, UID_V, key, key->lk, key->v);
  cudnnBackendDescriptor_t o = make_operand (g, UID_O, key, key->lq, key->o);
  cudnnBackendDescriptor_t scale
      = avatar_cuda_graph_scalar (g, UID_SCALE, AVATAR_CUDA_SCALAR_ON_HOST);
  cudnnBackendDescriptor_t op
      = avatar_cuda_graph_make (g, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);

  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, q);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, k);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, v);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, o);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale);
  avatar_cuda_graph_add (g, op);
}

/* Returns the descriptor of an intermediate tensor [1, heads, Lq, columns], float32. */
static cudnnBackendDescriptor_t
make_intermediate (AvatarCudaGraph *g, const Key *key, gint64 columns)
{
  const gint64 dims[4] = { 1, key->heads, key->lq, columns };
  const gint64 strides[4] = { key->heads * key->lq * columns, key->lq * columns, columns, 1 };

  return avatar_cuda_graph_tensor (g, 0, CUDNN_DATA_FLOAT, 4, dims, strides);
}

/* Returns x times the scalar @uid. */
static cudnnBackendDescriptor_t
multiply (AvatarCudaGraph *g, const Key *key, cudnnBackendDescriptor_t x, gint64 columns,
    gint64 uid, AvatarCudaScalar place)
{
  cudnnBackendDescriptor_t y = make_intermediate (g, key, columns);

  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_MUL, y, x,
      avatar_cuda_graph_scalar (g, uid, place));
  return y;
}

/* Returns the softmax over the columns. cuDNN's engines recognise it in this form only, with the
 * logarithm of the sum, although nothing reads that. */
static cudnnBackendDescriptor_t
softmax (AvatarCudaGraph *g, const Key *key, cudnnBackendDescriptor_t x)
{
  cudnnBackendDescriptor_t max = make_intermediate (g, key, 1);
  cudnnBackendDescriptor_t sum = make_intermediate (g, key, 1);
  cudnnBackendDescriptor_t difference = make_intermediate (g, key, key->lk);
  cudnnBackendDescriptor_t e = make_intermediate (g, key, key->lk);
  cudnnBackendDescriptor_t log_sum = make_intermediate (g, key, 1);
  cudnnBackendDescriptor_t stats = make_intermediate (g, key, 1);
  cudnnBackendDescriptor_t y = make_intermediate (g, key, key->lk);

  avatar_cuda_graph_reduce (g, CUDNN_REDUCE_TENSOR_MAX, max, x);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_SUB, difference, x, max);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_EXP, e, difference, NULL);
  avatar_cuda_graph_reduce (g, CUDNN_REDUCE_TENSOR_ADD, sum, e);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_LOG, log_sum, sum, NULL);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_ADD, stats, max, log_sum);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_DIV, y, e, sum);
  return y;
}

/* Builds the same in e4m3. Each operand, the output and the softmax weights, which are between 0
 * and 1, have one factor each. */
static void
build_8bit (AvatarCudaGraph *g, const Key *key)
{
  const gint64 kt_dims[4] = { 1, key->heads, key->d, key->lk };
  const gint64 kt_strides[4] = { key->lk * key->k[0], key->k[1], 1, key->k[0] };
  const gint64 p_dims[4] = { 1, key->heads, key->lq, key->lk };
  const gint64 p_strides[4] = { key->heads * key->lq * key->lk, key->lq * key->lk, key->lk, 1 };
  cudnnBackendDescriptor_t q = make_operand (g, UID_Q, key, key->lq, key->q);
  cudnnBackendDescriptor_t kt
      = avatar_cuda_graph_tensor (g, UID_K, CUDNN_DATA_FP8_E4M3, 4, kt_dims, kt_strides);
  cudnnBackendDescriptor_t v = make_operand (g, UID_V, key, key->lk, key->v);
  cudnnBackendDescriptor_t o = make_operand (g, UID_O, key, key->lq, key->o);
  cudnnBackendDescriptor_t p
      = avatar_cuda_graph_tensor (g, 0, CUDNN_DATA_FP8_E4M3, 4, p_dims, p_strides);
  cudnnBackendDescriptor_t x = make_intermediate (g, key, key->lk);

  avatar_cuda_graph_matmul (g, x, q, kt);
  x = multiply (g, key, x, key->lk, UID_SCALE, AVATAR_CUDA_SCALAR_ON_HOST);
  x = multiply (g, key, x, key->lk, UID_DESCALE_Q, AVATAR_CUDA_SCALAR_ON_DEVICE);
  x = multiply (g, key, x, key->lk, UID_DESCALE_K, AVATAR_CUDA_SCALAR_ON_DEVICE);
  x = softmax (g, key, x);
  avatar_cuda_graph_reduce (g, CUDNN_REDUCE_TENSOR_AMAX,
      avatar_cuda_graph_scalar (g, UID_AMAX_P, AVATAR_CUDA_SCALAR_ON_DEVICE), x);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_MUL, p, x,
      avatar_cuda_graph_scalar (g, UID_SCALE_P, AVATAR_CUDA_SCALAR_ON_DEVICE));
  x = make_intermediate (g, key, key->d);
  avatar_cuda_graph_matmul (g, x, p, v);
  x = multiply (g, key, x, key->d, UID_DESCALE_P, AVATAR_CUDA_SCALAR_ON_DEVICE);
  x = multiply (g, key, x, key->d, UID_DESCALE_V, AVATAR_CUDA_SCALAR_ON_DEVICE);
  avatar_cuda_graph_pointwise (g, CUDNN_POINTWISE_MUL, o, x,
      avatar_cuda_graph_scalar (g, UID_SCALE_O, AVATAR_CUDA_SCALAR_ON_DEVICE));
  avatar_cuda_graph_reduce (g, CUDNN_REDUCE_TENSOR_AMAX,
      avatar_cuda_graph_scalar (g, UID_AMAX_O, AVATAR_CUDA_SCALAR_ON_DEVICE), x);
}

static gpointer
make_plan (AvatarQueue *queue, gconstpointer data)
{
  const Key *key = data;
  AvatarCudaGraph g = { .status = CUDNN_STATUS_SUCCESS };

  if (key->dtype == AVATAR_F8_E4M3)
    build_8bit (&g, key);
  else
    build_16bit (&g, key);
  return avatar_cuda_graph_plan (&g, queue->dnn, AVATAR_CUDA_ATTENTION_WORKSPACE);
}

static const AvatarCudaGraphPlan *
find_plan (AvatarQueue *queue, const AvatarAttention *self)
{
  const AvatarTensor o = self->o, q = self->q, k = self->k, v = self->v;
  Key key;

  memset (&key, 0, sizeof key); /* the key is compared byte by byte */
  key.lq = q.shape[0];
  key.lk = k.shape[0];
  key.heads = q.shape[1];
  key.d = q.shape[2];
  for (guint i = 0; i < 2; i++) {
    key.q[i] = q.stride[i];
    key.k[i] = k.stride[i];
    key.v[i] = v.stride[i];
    key.o[i] = o.stride[i];
  }
  key.dtype = q.dtype;
  key.scale = self->scale;
  return avatar_cuda_plan_cache_get (queue, AVATAR_CUDA_PLAN_ATTENTION, &key, sizeof key, make_plan,
      avatar_cuda_graph_plan_free);
}

static void
run_16bit (AvatarQueue *queue, const AvatarCudaGraphPlan *plan, const AvatarAttention *self,
    void *ws)
{
  float scale = self->scale;
  const gint64 uids[] = { UID_Q, UID_K, UID_V, UID_O, UID_SCALE };
  void *const pointers[] = { self->q.data, self->k.data, self->v.data, self->o.data, &scale };

  avatar_cuda_graph_run (queue, plan, G_N_ELEMENTS (uids), uids, pointers, ws, "attention");
}

/* Factor of the softmax weights, so that small ones do not underflow: a power of two, and small
 * enough for e4m3's maximum of 448. */
#define SCALE_P 256.f

/* Scalars in the workspace of the 8-bit attention. They follow cuDNN's own workspace, SCALAR_STRIDE
 * floats apart, and are followed by the output before it is multiplied with its factor. */
enum
{
  AT_SCALE_P,
  AT_DESCALE_P,
  AT_ONE,
  AT_AMAX_P,
  AT_AMAX_O,
  N_SCALARS,
};
#define SCALAR_STRIDE 64 /* floats */

/* Runs @plan for the operands @self, with an 8-bit output, and expands the output to @o. */
static void
run_8bit (AvatarQueue *queue, const AvatarCudaGraphPlan *plan, AvatarTensor o,
    const AvatarAttention *self, float *scalars, void *ws)
{
  float scale = self->scale;
  const gint64 uids[] = { UID_Q, UID_K, UID_V, UID_O, UID_SCALE, UID_DESCALE_Q, UID_DESCALE_K,
    UID_DESCALE_V, UID_SCALE_P, UID_DESCALE_P, UID_SCALE_O, UID_AMAX_P, UID_AMAX_O };
  /* The output is a weighted mean of v, so v's factor suffices for it. */
  void *const pointers[]
      = { self->q.data, self->k.data, self->v.data, self->o.data, &scale, self->q.scale,
          self->k.scale, scalars + AT_ONE * SCALAR_STRIDE, scalars + AT_SCALE_P * SCALAR_STRIDE,
          scalars + AT_DESCALE_P * SCALAR_STRIDE, scalars + AT_ONE * SCALAR_STRIDE,
          scalars + AT_AMAX_P * SCALAR_STRIDE, scalars + AT_AMAX_O * SCALAR_STRIDE };
  const float values[] = { SCALE_P, 1 / SCALE_P, 1, 0, 0 };

  if (avatar_cuda_check (queue,
          avatar_kernel_scalars (queue->stream, scalars, SCALAR_STRIDE, values, N_SCALARS),
          "writing attention factors")
      && avatar_cuda_graph_run (queue, plan, G_N_ELEMENTS (uids), uids, pointers, ws,
          "8-bit attention"))
    avatar_cuda_check (queue,
        avatar_kernel_expand_all (queue->stream, o, avatar_tensor_rows (self->o, 0, o.shape[0]),
            self->v.scale),
        "expanding 8-bit attention");
}

gboolean
avatar_cuda_supports_8bit_attention (AvatarBackendDevice *device, gint64 d)
{
  return device->capability >= 90 && d == RELEASED_HEAD;
}

/* Returns a copy of q at @data with queries of zeros appended, @rows in total: cuDNN does not
 * accept fewer. */
static AvatarTensor
pad_queries (AvatarQueue *queue, AvatarTensor q, gint64 rows, void *data)
{
  const gint64 shape[3] = { rows, q.shape[1], q.shape[2] };
  AvatarTensor padded = avatar_tensor_of_shape (AVATAR_F8_E4M3, data, 3, shape);
  gsize row = q.shape[1] * q.shape[2];

  g_assert (q.stride[1] == q.shape[2]);
  padded.scale = q.scale;
  if (avatar_cuda_check (queue, cudaMemsetAsync (data, 0, rows * row, queue->stream),
          "padding attention queries"))
    avatar_cuda_check (queue,
        cudaMemcpy2DAsync (data, row, q.data, q.stride[0], row, q.shape[0],
            cudaMemcpyDeviceToDevice, queue->stream),
        "padding attention queries");
  return padded;
}

static void
attention_8bit (AvatarQueue *queue, const AvatarAttention *self, guint8 *ws)
{
  float *scalars = (float *) (ws + AVATAR_CUDA_ATTENTION_WORKSPACE);
  guint8 *out = ws + AVATAR_CUDA_ATTENTION_WORKSPACE + AVATAR_CUDA_SCALARS;
  const AvatarTensor q = self->q;
  gint64 rows = avatar_cuda_8bit_queries (q);
  AvatarAttention padded = *self;
  const AvatarCudaGraphPlan *plan;

  if (rows != q.shape[0])
    padded.q = pad_queries (queue, q, rows, out + rows * q.shape[1] * q.shape[2]);
  padded.o = avatar_tensor_of_shape (AVATAR_F8_E4M3, out, 3, padded.q.shape);
  plan = find_plan (queue, &padded);
  if (plan->plan)
    run_8bit (queue, plan, self->o, &padded, scalars, ws);
  else
    avatar_cuda_fail (queue, AVATAR_ERROR_DEVICE,
        "cuDNN has no 8-bit attention of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
        " x %" G_GINT64_FORMAT " on %s (%s); choose precision=auto",
        rows, self->k.shape[0], q.shape[2], queue->device->name, plan->reason);
}

/* Warns once per process that the slow kernel is used. */
static void
warn_slow (AvatarQueue *queue, const char *reason)
{
  static gint warned;
  size_t version = cudnnGetVersion ();

  if (g_atomic_int_compare_and_exchange (&warned, 0, 1))
    g_warning (
        "cuDNN %d.%d has no attention for heads of width %d on %s (%s); a kernel that is many "
        "times slower is used instead. Update cuDNN to 9.14 or later",
        (int) (version / 10000), (int) (version / 100 % 100), RELEASED_HEAD, queue->device->name,
        reason);
}

void
avatar_cuda_attention (AvatarQueue *queue, const AvatarAttention *self, void *ws,
    const gint *cancelled)
{
  const AvatarTensor q = self->q;
  const AvatarCudaGraphPlan *plan = NULL;

  if (!avatar_cuda_begin (queue) || q.shape[0] == 0)
    return;
  if (q.dtype == AVATAR_F8_E4M3) {
    attention_8bit (queue, self, ws);
    return;
  }
  if (avatar_cuda_attention_is_wide (self)) {
    avatar_cuda_attention_wide (queue, self, ws);
    return;
  }
  if (q.dtype != AVATAR_F32 && self->causal_block == 0 && !self->valid.rank
      && q.shape[2] % 8 == 0) {
    plan = find_plan (queue, self);
    if (!plan->plan && q.shape[2] == RELEASED_HEAD)
      warn_slow (queue, plan->reason);
  }
  if (plan && plan->plan)
    run_16bit (queue, plan, self, ws);
  else
    avatar_cuda_check (queue, avatar_kernel_attention (queue->stream, self), "attention");
}
