/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linear layers: cuBLASLt's matrix product, with bias, GELU or gated sum in its epilogue where the
 * library supports it, else in a kernel of this back-end. A product of a given shape always runs
 * the algorithm that the library's heuristic returns first, so results are the same in every run.
 *
 * cuBLAS is column-major: its A is w, its B is x, and its D = A^T B is y, all transposed. */
#include "engine/backends/cuda/cuda-private.h"
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

#include <string.h>

/* The part of the epilogue that the library computes. */
typedef enum
{
  FUSE_NOTHING,
  FUSE_BIAS,
  FUSE_BIAS_GELU,
  FUSE_GELU,
} Fuse;

typedef struct
{
  gint64 m, n, k, ldx, ldw, ldy;
  AvatarDType x, y, b;
  Fuse fuse;
  gint32 gated; /* y += gate * product; the bias is multiplied with the gate beforehand */
} Key;

typedef struct
{
  Key key;
  gboolean found;  /* the library has an algorithm */
  gboolean scaled; /* the library applies the factors of 8-bit rows */
  cublasLtMatmulDesc_t op;
  cublasLtMatrixLayout_t a, b, d;
  cublasLtMatmulAlgo_t algo;
} Plan;

static void
plan_free (gpointer data)
{
  Plan *plan = data;

  if (plan->a)
    cublasLtMatrixLayoutDestroy (plan->a);
  if (plan->b)
    cublasLtMatrixLayoutDestroy (plan->b);
  if (plan->d)
    cublasLtMatrixLayoutDestroy (plan->d);
  if (plan->op)
    cublasLtMatmulDescDestroy (plan->op);
  g_free (plan);
}

static cudaDataType_t
cuda_type (AvatarDType dtype)
{
  switch (dtype) {
    case AVATAR_BF16:
      return CUDA_R_16BF;
    case AVATAR_F16:
      return CUDA_R_16F;
    case AVATAR_F8_E4M3:
      return CUDA_R_8F_E4M3;
    default:
      return CUDA_R_32F;
  }
}

static void
set (cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t name, const void *value, gsize size)
{
  cublasLtMatmulDescSetAttribute (op, name, value, size);
}

/* Asks the library for an algorithm. Returns FALSE if it has none. */
static gboolean
find_algorithm (AvatarQueue *queue, Plan *plan, gboolean scaled)
{
  const Key *k = &plan->key;
  cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtEpilogue_t epilogues[] = { CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
    CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU };
  cublasLtMatmulPreference_t preference = NULL;
  cublasLtMatmulHeuristicResult_t result;
  gsize workspace = AVATAR_CUDA_GEMM_WORKSPACE;
  gint8 fast = 1; /* accumulates e4m3 products in tensor cores only: 8 % faster on Hopper */
  int n = 0;

  g_clear_pointer (&plan->op, cublasLtMatmulDescDestroy);
  if (cublasLtMatmulDescCreate (&plan->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS)
    return FALSE;
  set (plan->op, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
  set (plan->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogues[k->fuse], sizeof epilogues[0]);
  if (k->fuse == FUSE_BIAS || k->fuse == FUSE_BIAS_GELU) {
    cudaDataType_t type = cuda_type (k->b);

    set (plan->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
  }
  if (k->gated && !scaled) {
    cublasLtPointerMode_t mode = CUBLASLT_POINTER_MODE_ALPHA_DEVICE_VECTOR_BETA_HOST;

    set (plan->op, CUBLASLT_MATMUL_DESC_POINTER_MODE, &mode, sizeof mode);
  }
  if (k->x == AVATAR_F8_E4M3)
    set (plan->op, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast);
  if (scaled) {
    cublasLtMatmulMatrixScale_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const void *dummy = &mode; /* must not be NULL; run() sets the actual address */

    set (plan->op, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof mode);
    set (plan->op, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof mode);
    set (plan->op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &dummy, sizeof dummy);
    set (plan->op, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &dummy, sizeof dummy);
  }
  if (cublasLtMatmulPreferenceCreate (&preference) != CUBLAS_STATUS_SUCCESS)
    return FALSE;
  cublasLtMatmulPreferenceSetAttribute (preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      &workspace, sizeof workspace);
  if (cublasLtMatmulAlgoGetHeuristic (queue->blas, plan->op, plan->a, plan->b, plan->d, plan->d,
          preference, 1, &result, &n)
      != CUBLAS_STATUS_SUCCESS)
    n = 0;
  cublasLtMatmulPreferenceDestroy (preference);
  if (n < 1 || result.state != CUBLAS_STATUS_SUCCESS)
    return FALSE;
  plan->algo = result.algo;
  plan->scaled = scaled;
  return TRUE;
}

static gpointer
make_plan (AvatarQueue *queue, gconstpointer data)
{
  const Key *key = data;
  Plan *plan = g_new0 (Plan, 1);
  cudaDataType_t in = cuda_type (key->x), out = cuda_type (key->y);

  plan->key = *key;
  if (cublasLtMatrixLayoutCreate (&plan->a, in, key->k, key->n, key->ldw) == CUBLAS_STATUS_SUCCESS
      && cublasLtMatrixLayoutCreate (&plan->b, in, key->k, key->m, key->ldx)
          == CUBLAS_STATUS_SUCCESS
      && cublasLtMatrixLayoutCreate (&plan->d, out, key->n, key->m, key->ldy)
          == CUBLAS_STATUS_SUCCESS)
    plan->found = (key->x == AVATAR_F8_E4M3 && find_algorithm (queue, plan, TRUE))
        || (!(key->x == AVATAR_F8_E4M3 && key->gated) && find_algorithm (queue, plan, FALSE));
  return plan;
}

static const Plan *
find_plan (AvatarQueue *queue, const Key *key)
{
  return avatar_cuda_plan_cache_get (queue, AVATAR_CUDA_PLAN_LINEAR, key, sizeof *key, make_plan,
      plan_free);
}

static Key
make_key (AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b, Fuse fuse, gboolean gated)
{
  Key key;

  memset (&key, 0, sizeof key); /* the key is compared byte by byte */
  key.m = x.shape[0];
  key.n = w.shape[0];
  key.k = x.shape[1];
  key.ldx = x.stride[0];
  key.ldw = w.stride[0];
  key.ldy = y.stride[0];
  key.x = x.dtype;
  key.y = y.dtype;
  key.b = fuse == FUSE_BIAS || fuse == FUSE_BIAS_GELU ? b.dtype : AVATAR_F32;
  key.fuse = fuse;
  key.gated = gated;
  return key;
}

/* Enqueues the product of @plan. @gate [n] is required if the plan is gated and not scaled, else
 * NULL. Returns FALSE with the error of @queue set on failure. */
static gboolean
run (AvatarQueue *queue, const Plan *plan, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, const float *gate, void *ws)
{
  const float one = 1, beta = plan->key.gated ? 1 : 0;
  cublasStatus_t status;

  if (b.rank)
    set (plan->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &b.data, sizeof b.data);
  if (plan->scaled) {
    set (plan->op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &w.scale, sizeof w.scale);
    set (plan->op, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &x.scale, sizeof x.scale);
  }
  status = cublasLtMatmul (queue->blas, plan->op, gate ? gate : &one, w.data, plan->a, x.data,
      plan->b, &beta, y.data, plan->d, y.data, plan->d, &plan->algo, ws, AVATAR_CUDA_GEMM_WORKSPACE,
      queue->stream);
  if (status == CUBLAS_STATUS_SUCCESS)
    return TRUE;
  avatar_cuda_fail (queue, AVATAR_ERROR_DEVICE,
      "matrix product of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
      " on %s failed: %s; the results computed so far are lost, start again",
      plan->key.m, plan->key.n, plan->key.k, queue->device->name, cublasLtGetStatusString (status));
  return FALSE;
}

static Fuse
preferred_fuse (AvatarTensor y, AvatarTensor b, AvatarAct act)
{
  gboolean gelu = act == AVATAR_ACT_GELU_TANH; /* the library's GELU is this one */

  if (b.rank)
    return gelu ? FUSE_BIAS_GELU : FUSE_BIAS;
  return gelu ? FUSE_GELU : FUSE_NOTHING;
}

void
avatar_cuda_linear (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act, void *ws)
{
  Fuse fuse = preferred_fuse (y, b, act);
  const Plan *plan;
  gboolean scales, bias, activation;
  Key key;

  if (!avatar_cuda_begin (queue) || x.shape[0] == 0)
    return;
  key = make_key (y, x, w, b, fuse, FALSE);
  plan = find_plan (queue, &key);
  if (x.dtype == AVATAR_F8_E4M3 && plan->found && !plan->scaled && fuse != FUSE_NOTHING)
    plan = NULL; /* the factors must be applied before the epilogue */
  if (!plan || !plan->found) {
    fuse = FUSE_NOTHING;
    key = make_key (y, x, w, b, fuse, FALSE);
    plan = find_plan (queue, &key);
  }
  if (!plan->found) {
    avatar_cuda_fail (queue, AVATAR_ERROR_DEVICE,
        "cuBLASLt has no %s product of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
        " x %" G_GINT64_FORMAT " on %s; choose precision=auto, or device=cpu",
        avatar_dtype_name (x.dtype), key.m, key.n, key.k, queue->device->name);
    return;
  }
  if (!run (queue, plan, y, x, w,
          fuse == FUSE_BIAS || fuse == FUSE_BIAS_GELU ? b : AVATAR_NO_TENSOR, NULL, ws))
    return;
  scales = x.dtype == AVATAR_F8_E4M3 && !plan->scaled;
  bias = b.rank && fuse != FUSE_BIAS && fuse != FUSE_BIAS_GELU;
  activation = act != AVATAR_ACT_NONE && fuse != FUSE_BIAS_GELU && fuse != FUSE_GELU;
  if (scales || bias || activation)
    avatar_cuda_check (queue,
        avatar_kernel_epilogue (queue->stream, y, scales ? x.scale : NULL, scales ? w.scale : NULL,
            bias ? b : AVATAR_NO_TENSOR, activation ? act : AVATAR_ACT_NONE),
        "linear layer epilogue");
}

/* Computes y += gate * (x w^T + b) in the epilogue of the product. Returns FALSE if the library
 * does not support it, or on failure. */
static gboolean
add_gated (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
    AvatarTensor gate, guint8 *ws)
{
  Key key = make_key (y, x, w, b, b.rank ? FUSE_BIAS : FUSE_NOTHING, TRUE);
  const Plan *plan = find_plan (queue, &key);
  guint8 *vectors = ws + AVATAR_CUDA_GEMM_WORKSPACE;
  AvatarTensor gated_b = b;
  float *scale = (float *) (vectors + avatar_cuda_vector_bytes (key.n));

  if (!plan->found)
    return FALSE;
  gated_b.data = vectors;
  if (!avatar_cuda_check (queue,
          avatar_kernel_gate_vectors (queue->stream, vectors, scale, gate.data, b,
              plan->scaled ? w.scale : NULL, key.n),
          "multiplying bias with gate"))
    return FALSE;
  w.scale = scale;
  return run (queue, plan, y, x, w, b.rank ? gated_b : b, plan->scaled ? NULL : gate.data, ws);
}

void
avatar_cuda_linear_add (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws)
{
  AvatarTensor product
      = avatar_tensor_of_shape (y.dtype, (guint8 *) ws + AVATAR_CUDA_GEMM_WORKSPACE, 2, y.shape);

  if (x.shape[0] == 0 || !avatar_cuda_begin (queue)
      || (gate.rank && !row_scale.rank && add_gated (queue, y, x, w, b, gate, ws)))
    return;
  avatar_cuda_linear (queue, product, x, w, b, AVATAR_ACT_NONE, ws);
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue,
        avatar_kernel_gated_add (queue->stream, y, product, gate.data, row_scale.data),
        "gated sum");
}
