/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Helpers around the C interface of cuDNN's graphs. */
#include "engine/backends/cuda/graph.h"

#include <stdbool.h>

#define FIRST_VIRTUAL 1000

cudnnBackendDescriptor_t
avatar_cuda_graph_make (AvatarCudaGraph *g, cudnnBackendDescriptorType_t type)
{
  cudnnBackendDescriptor_t d = NULL;

  g_assert (g->n < G_N_ELEMENTS (g->all));
  if (g->status == CUDNN_STATUS_SUCCESS)
    g->status = cudnnBackendCreateDescriptor (type, &d);
  if (d)
    g->all[g->n++] = d;
  return d;
}

void
avatar_cuda_graph_put (AvatarCudaGraph *g, cudnnBackendDescriptor_t d,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, gint64 n,
    const void *values)
{
  if (g->status == CUDNN_STATUS_SUCCESS)
    g->status = cudnnBackendSetAttribute (d, name, type, n, values);
}

void
avatar_cuda_graph_put_descriptor (AvatarCudaGraph *g, cudnnBackendDescriptor_t d,
    cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
  avatar_cuda_graph_put (g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void
avatar_cuda_graph_finish (AvatarCudaGraph *g, cudnnBackendDescriptor_t d)
{
  if (g->status == CUDNN_STATUS_SUCCESS)
    g->status = cudnnBackendFinalize (d);
}

void
avatar_cuda_graph_add (AvatarCudaGraph *g, cudnnBackendDescriptor_t operation)
{
  g_assert (g->n_operations < G_N_ELEMENTS (g->operations));
  avatar_cuda_graph_finish (g, operation);
  g->operations[g->n_operations++] = operation;
}

static cudnnBackendDescriptor_t
make_tensor (AvatarCudaGraph *g, gint64 uid, cudnnDataType_t type, guint rank, const gint64 *dims,
    const gint64 *strides, bool by_value)
{
  cudnnBackendDescriptor_t t = avatar_cuda_graph_make (g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  gint64 alignment = 16;
  bool is_virtual = uid == 0;

  if (is_virtual)
    uid = FIRST_VIRTUAL + g->next_virtual++;
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, rank, dims);
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, rank, strides);
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  avatar_cuda_graph_put (g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
  avatar_cuda_graph_finish (g, t);
  return t;
}

cudnnBackendDescriptor_t
avatar_cuda_graph_tensor (AvatarCudaGraph *g, gint64 uid, cudnnDataType_t type, guint rank,
    const gint64 *dims, const gint64 *strides)
{
  return make_tensor (g, uid, type, rank, dims, strides, false);
}

cudnnBackendDescriptor_t
avatar_cuda_graph_scalar (AvatarCudaGraph *g, gint64 uid, AvatarCudaScalar place)
{
  static const gint64 ones[4] = { 1, 1, 1, 1 };

  return make_tensor (g, uid, CUDNN_DATA_FLOAT, 4, ones, ones, place == AVATAR_CUDA_SCALAR_ON_HOST);
}

void
avatar_cuda_graph_pointwise (AvatarCudaGraph *g, cudnnPointwiseMode_t mode,
    cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b)
{
  cudnnBackendDescriptor_t config = avatar_cuda_graph_make (g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  cudnnBackendDescriptor_t op;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;

  avatar_cuda_graph_put (g, config, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
  avatar_cuda_graph_finish (g, config);
  op = avatar_cuda_graph_make (g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, config);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b)
    avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  avatar_cuda_graph_add (g, op);
}

void
avatar_cuda_graph_reduce (AvatarCudaGraph *g, cudnnReduceTensorOp_t mode,
    cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x)
{
  cudnnBackendDescriptor_t config = avatar_cuda_graph_make (g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  cudnnBackendDescriptor_t op;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;

  avatar_cuda_graph_put (g, config, CUDNN_ATTR_REDUCTION_OPERATOR,
      CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  avatar_cuda_graph_finish (g, config);
  op = avatar_cuda_graph_make (g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, config);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
  avatar_cuda_graph_add (g, op);
}

void
avatar_cuda_graph_matmul (AvatarCudaGraph *g, cudnnBackendDescriptor_t c,
    cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b)
{
  cudnnBackendDescriptor_t config = avatar_cuda_graph_make (g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  cudnnBackendDescriptor_t op;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;

  avatar_cuda_graph_put (g, config, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  avatar_cuda_graph_finish (g, config);
  op = avatar_cuda_graph_make (g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, config);
  avatar_cuda_graph_add (g, op);
}

void
avatar_cuda_graph_convolution (AvatarCudaGraph *g, cudnnBackendDescriptor_t y,
    cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, const gint64 stride[3])
{
  static const gint64 zeros[3] = { 0, 0, 0 }, ones[3] = { 1, 1, 1 }, axes = 3;
  cudnnBackendDescriptor_t config
      = avatar_cuda_graph_make (g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  cudnnBackendDescriptor_t op;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  float one = 1, zero = 0;

  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1,
      &type);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
      1, &mode);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1,
      &axes);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3, ones);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3,
      stride);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3,
      zeros);
  avatar_cuda_graph_put (g, config, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3,
      zeros);
  avatar_cuda_graph_finish (g, config);
  op = avatar_cuda_graph_make (g, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
      config);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
  avatar_cuda_graph_put_descriptor (g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
  avatar_cuda_graph_put (g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1,
      &one);
  avatar_cuda_graph_put (g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1,
      &zero);
  avatar_cuda_graph_add (g, op);
}

/* Makes a plan from the engine configuration @config. Returns NULL if there is none that needs at
 * most @max_bytes of workspace. *@workspace is set to the bytes that it needs. */
static cudnnBackendDescriptor_t
try_config (cudnnHandle_t handle, cudnnBackendDescriptor_t config, gsize max_bytes,
    gint64 *workspace)
{
  AvatarCudaGraph g = { .status = CUDNN_STATUS_SUCCESS };
  cudnnBackendDescriptor_t plan
      = avatar_cuda_graph_make (&g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);

  avatar_cuda_graph_put (&g, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  avatar_cuda_graph_put_descriptor (&g, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  avatar_cuda_graph_finish (&g, plan);
  if (g.status == CUDNN_STATUS_SUCCESS)
    g.status = cudnnBackendGetAttribute (plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
        CUDNN_TYPE_INT64, 1, NULL, workspace);
  if (g.status == CUDNN_STATUS_SUCCESS && *workspace <= (gint64) max_bytes)
    return plan;
  if (plan)
    cudnnBackendDestroyDescriptor (plan);
  return NULL;
}

#define MAX_CONFIGS 8

/* Asks the library for engine configurations, best first. Returns their number. */
static gint64
find_configs (AvatarCudaGraph *g, cudnnBackendDescriptor_t graph,
    cudnnBackendDescriptor_t configs[MAX_CONFIGS])
{
  cudnnBackendDescriptor_t heuristics
      = avatar_cuda_graph_make (g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  gint64 found = 0;

  for (guint i = 0; i < MAX_CONFIGS; i++)
    configs[i] = avatar_cuda_graph_make (g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  avatar_cuda_graph_put_descriptor (g, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  avatar_cuda_graph_put (g, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  avatar_cuda_graph_finish (g, heuristics);
  if (g->status == CUDNN_STATUS_SUCCESS)
    g->status = cudnnBackendGetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, MAX_CONFIGS, &found, configs);
  return g->status == CUDNN_STATUS_SUCCESS ? MIN (found, MAX_CONFIGS) : 0;
}

/* Sets g->reason: the library's error message, the number of configurations @found, and the
 * workspace @needed by the last one and available, in bytes. */
static void
set_reason (AvatarCudaGraph *g, gint64 found, gint64 needed, gsize workspace)
{
  char message[384] = "";

  cudnnGetLastErrorString (message, sizeof message);
  g_strstrip (message);
  g_snprintf (g->reason, sizeof g->reason,
      "%s%s%s; found %" G_GINT64_FORMAT " configurations, needing %" G_GINT64_FORMAT
      " of %" G_GSIZE_FORMAT " bytes of workspace",
      cudnnGetErrorString (g->status), *message ? ": " : "", message, found, needed, workspace);
}

AvatarCudaGraphPlan *
avatar_cuda_graph_plan (AvatarCudaGraph *g, cudnnHandle_t handle, gsize workspace)
{
  AvatarCudaGraphPlan *self = g_new0 (AvatarCudaGraphPlan, 1);
  cudnnBackendDescriptor_t graph, plan = NULL, configs[MAX_CONFIGS];
  gint64 found, needed = 0;

  graph = avatar_cuda_graph_make (g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  avatar_cuda_graph_put (g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
      g->n_operations, g->operations);
  avatar_cuda_graph_put (g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  avatar_cuda_graph_finish (g, graph);
  found = find_configs (g, graph, configs);
  for (gint64 i = 0; i < found && !plan; i++)
    plan = try_config (handle, configs[i], workspace, &needed);
  if (!plan) {
    set_reason (g, found, needed, workspace);
    self->reason = g_strdup (g->reason);
  }
  for (guint i = 0; i < g->n; i++)
    cudnnBackendDestroyDescriptor (g->all[i]);
  g->n = 0;
  self->plan = plan;
  return self;
}

void
avatar_cuda_graph_plan_free (gpointer plan)
{
  AvatarCudaGraphPlan *self = plan;

  if (self->plan)
    cudnnBackendDestroyDescriptor (self->plan);
  g_free (self->reason);
  g_free (self);
}

gboolean
avatar_cuda_graph_run (AvatarQueue *queue, const AvatarCudaGraphPlan *plan, gint64 n,
    const gint64 *uids, void *const *pointers, void *ws, const char *what)
{
  AvatarCudaGraph g = { .status = CUDNN_STATUS_SUCCESS };
  cudnnBackendDescriptor_t pack
      = avatar_cuda_graph_make (&g, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);

  avatar_cuda_graph_put (&g, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids);
  avatar_cuda_graph_put (&g, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n,
      pointers);
  avatar_cuda_graph_put (&g, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &ws);
  avatar_cuda_graph_finish (&g, pack);
  if (g.status == CUDNN_STATUS_SUCCESS)
    g.status = cudnnBackendExecute (queue->dnn, plan->plan, pack);
  if (pack)
    cudnnBackendDestroyDescriptor (pack);
  if (g.status == CUDNN_STATUS_SUCCESS)
    return TRUE;
  avatar_cuda_fail (queue, AVATAR_ERROR_DEVICE,
      "%s through cuDNN on %s failed: %s; the results computed so far are lost, start again", what,
      queue->device->name, cudnnGetErrorString (g.status));
  return FALSE;
}
