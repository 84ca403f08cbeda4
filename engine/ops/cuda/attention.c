/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attention through cuDNN's graph of one operation where it can do it (16-bit, no mask), else
 * through a kernel of our own. */
#include "engine/ops/cuda/cuda.h"
#include "engine/ops/cuda/kernels/kernels.h"
#include "engine/ops/cuda/workspace.h"

#include <stdbool.h>
#include <string.h>

/* Tensors of the graph. */
enum
{
  UID_Q = 1,
  UID_K,
  UID_V,
  UID_O,
  UID_SCALE,
};

typedef struct
{
  gint64 lq, lk, heads, d;
  gint64 q[2], k[2], v[2], o[2]; /* strides of rows and of heads */
  AvatarDType dtype;
  float scale;
} Key;

typedef struct
{
  Key key;
  cudnnBackendDescriptor_t plan; /* NULL: cuDNN cannot do this */
} Plan;

static guint
key_hash (gconstpointer key)
{
  const guint8 *bytes = key;
  guint hash = 5381;

  for (gsize i = 0; i < sizeof (Key); i++)
    hash = hash * 33 + bytes[i];
  return hash;
}

static gboolean
key_equal (gconstpointer a, gconstpointer b)
{
  return memcmp (a, b, sizeof (Key)) == 0;
}

static void
plan_free (gpointer data)
{
  Plan *plan = data;

  if (plan->plan)
    cudnnBackendDestroyDescriptor (plan->plan);
  g_free (plan);
}

GHashTable *
avatar_cuda_attentions_new (void)
{
  return g_hash_table_new_full (key_hash, key_equal, NULL, plan_free);
}

/* Descriptors that live while a plan is built. The first failure sticks. */
typedef struct
{
  cudnnBackendDescriptor_t all[16];
  guint n;
  cudnnStatus_t status;
} Builder;

static cudnnBackendDescriptor_t
make (Builder *b, cudnnBackendDescriptorType_t type)
{
  cudnnBackendDescriptor_t d = NULL;

  if (b->status == CUDNN_STATUS_SUCCESS)
    b->status = cudnnBackendCreateDescriptor (type, &d);
  if (d)
    b->all[b->n++] = d;
  return d;
}

static void
put (Builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type, gint64 n, const void *values)
{
  if (b->status == CUDNN_STATUS_SUCCESS)
    b->status = cudnnBackendSetAttribute (d, name, type, n, values);
}

static void
put_descriptor (Builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
    cudnnBackendDescriptor_t value)
{
  put (b, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void
finish (Builder *b, cudnnBackendDescriptor_t d)
{
  if (b->status == CUDNN_STATUS_SUCCESS)
    b->status = cudnnBackendFinalize (d);
}

static cudnnBackendDescriptor_t
make_tensor (Builder *b, gint64 uid, cudnnDataType_t type, const gint64 dims[4],
    const gint64 strides[4], gboolean by_value)
{
  cudnnBackendDescriptor_t t = make (b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  gint64 alignment = 16;
  bool value = by_value != FALSE;

  put (b, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  put (b, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  put (b, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
  put (b, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
  put (b, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (by_value)
    put (b, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &value);
  finish (b, t);
  return t;
}

static cudnnBackendDescriptor_t
make_operand (Builder *b, gint64 uid, const Key *key, gint64 rows, const gint64 stride[2])
{
  const gint64 dims[4] = { 1, key->heads, rows, key->d };
  const gint64 strides[4] = { rows * stride[0], stride[1], stride[0], 1 };

  return make_tensor (b, uid, key->dtype == AVATAR_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16,
      dims, strides, FALSE);
}

/* The graph: o = softmax (q k^T scale) v */
static cudnnBackendDescriptor_t
make_graph (Builder *b, cudnnHandle_t handle, const Key *key)
{
  const gint64 ones[4] = { 1, 1, 1, 1 };
  cudnnBackendDescriptor_t q = make_operand (b, UID_Q, key, key->lq, key->q);
  cudnnBackendDescriptor_t k = make_operand (b, UID_K, key, key->lk, key->k);
  cudnnBackendDescriptor_t v = make_operand (b, UID_V, key, key->lk, key->v);
  cudnnBackendDescriptor_t o = make_operand (b, UID_O, key, key->lq, key->o);
  cudnnBackendDescriptor_t scale = make_tensor (b, UID_SCALE, CUDNN_DATA_FLOAT, ones, ones, TRUE);
  cudnnBackendDescriptor_t op = make (b, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR), graph;

  put_descriptor (b, op, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, q);
  put_descriptor (b, op, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, k);
  put_descriptor (b, op, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, v);
  put_descriptor (b, op, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, o);
  put_descriptor (b, op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale);
  finish (b, op);
  graph = make (b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  put_descriptor (b, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, op);
  put (b, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  finish (b, graph);
  return graph;
}

/* The first engine that the library proposes and that wants no more workspace than there is. */
static cudnnBackendDescriptor_t
make_plan (cudnnHandle_t handle, const Key *key)
{
  Builder b = { .status = CUDNN_STATUS_SUCCESS };
  cudnnBackendDescriptor_t graph = make_graph (&b, handle, key), plan = NULL;
  cudnnBackendDescriptor_t heuristics = make (&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  cudnnBackendDescriptor_t config = make (&b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  gint64 found = 0, workspace = 0;

  put_descriptor (&b, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  put (&b, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  finish (&b, heuristics);
  if (b.status == CUDNN_STATUS_SUCCESS)
    b.status = cudnnBackendGetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &found, &config);
  if (b.status == CUDNN_STATUS_SUCCESS && found > 0)
    b.status = cudnnBackendCreateDescriptor (CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan);
  if (plan) {
    put (&b, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    put_descriptor (&b, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    finish (&b, plan);
    if (b.status == CUDNN_STATUS_SUCCESS)
      b.status = cudnnBackendGetAttribute (plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
          CUDNN_TYPE_INT64, 1, NULL, &workspace);
    if (b.status != CUDNN_STATUS_SUCCESS || workspace > (gint64) AVATAR_CUDA_ATTENTION_WORKSPACE)
      g_clear_pointer (&plan, cudnnBackendDestroyDescriptor);
  }
  if (!plan) {
    char message[512] = "";

    cudnnGetLastErrorString (message, sizeof message);
    g_debug ("cuDNN has no attention of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
             " x %" G_GINT64_FORMAT " (%s; %s; workspace %" G_GINT64_FORMAT ")",
        key->lq, key->lk, key->d, cudnnGetErrorString (b.status), message, workspace);
  }
  for (guint i = 0; i < b.n; i++)
    cudnnBackendDestroyDescriptor (b.all[i]);
  return plan;
}

static gboolean
run (AvatarQueue *queue, const Plan *plan, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, void *ws)
{
  Builder b = { .status = CUDNN_STATUS_SUCCESS };
  cudnnBackendDescriptor_t pack = make (&b, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  float scale = plan->key.scale;
  const gint64 uids[] = { UID_Q, UID_K, UID_V, UID_O, UID_SCALE };
  void *const pointers[] = { q.data, k.data, v.data, o.data, &scale };

  put (&b, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, G_N_ELEMENTS (uids), uids);
  put (&b, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
      G_N_ELEMENTS (pointers), pointers);
  put (&b, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &ws);
  finish (&b, pack);
  if (b.status == CUDNN_STATUS_SUCCESS)
    b.status = cudnnBackendExecute (queue->dnn, plan->plan, pack);
  if (pack)
    cudnnBackendDestroyDescriptor (pack);
  if (b.status == CUDNN_STATUS_SUCCESS)
    return TRUE;
  avatar_cuda_fail (queue, AVATAR_ERROR_DEVICE,
      "cuDNN's attention of %" G_GINT64_FORMAT " queries and %" G_GINT64_FORMAT " keys failed: %s",
      plan->key.lq, plan->key.lk, cudnnGetErrorString (b.status));
  return FALSE;
}

static const Plan *
find_plan (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v,
    double scale)
{
  Plan *plan;
  Key key;

  memset (&key, 0, sizeof key); /* it is compared byte by byte */
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
  key.scale = scale;
  plan = g_hash_table_lookup (queue->attentions, &key);
  if (!plan) {
    plan = g_new0 (Plan, 1);
    plan->key = key;
    plan->plan = make_plan (queue->dnn, &key);
    g_hash_table_insert (queue->attentions, &plan->key, plan);
  }
  return plan->plan ? plan : NULL;
}

void
avatar_cuda_attention (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid, void *ws,
    const gint *cancelled)
{
  const Plan *plan = NULL;

  if (!avatar_cuda_begin (queue) || q.shape[0] == 0)
    return;
  if (q.dtype != AVATAR_F32 && causal_block == 0 && !valid.rank && q.shape[2] % 8 == 0)
    plan = find_plan (queue, o, q, k, v, scale);
  if (plan)
    run (queue, plan, o, q, k, v, ws);
  else
    avatar_cuda_check (queue,
        avatar_kernel_attention (queue->stream, o, q, k, v, scale, causal_block, q_start, valid),
        "attention");
}
