/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Construction and execution of graphs of cuDNN operations. */
#pragma once

#include "engine/backends/cuda/cuda-private.h"

G_BEGIN_DECLS

/**
 * AvatarCudaGraph:
 * @all: (owned): all descriptors of the graph
 * @operations: the descriptors of its operations, in order
 * @n: the number of descriptors
 * @n_operations: the number of operations
 * @next_virtual: the identifiers used so far for intermediate tensors
 * @status: the first failure
 * @reason: the reason why there is no plan, with cuDNN's message
 *
 * The descriptors of a graph while a plan is made. Allocated on the stack, with all members 0.
 * After a failure the functions do nothing and return %NULL, and no plan is made.
 */
typedef struct
{
  cudnnBackendDescriptor_t all[128], operations[32];
  guint n, n_operations;
  gint64 next_virtual;
  cudnnStatus_t status;
  char reason[512];
} AvatarCudaGraph;

/* Returns a tensor of @rank (3 .. 5) dimensions, with strides in elements.
 * @uid: the identifier by which avatar_cuda_graph_run() gets its address; 0 for an intermediate
 *   tensor, which has no memory */
cudnnBackendDescriptor_t avatar_cuda_graph_tensor (AvatarCudaGraph *graph, gint64 uid,
    cudnnDataType_t type, guint rank, const gint64 *dims, const gint64 *strides);
/* The memory of a scalar. */
typedef enum
{
  AVATAR_CUDA_SCALAR_ON_DEVICE,
  AVATAR_CUDA_SCALAR_ON_HOST, /* read when the plan is enqueued */
} AvatarCudaScalar;

/* Returns a float32 scalar [1, 1, 1, 1]. */
cudnnBackendDescriptor_t
avatar_cuda_graph_scalar (AvatarCudaGraph *graph, gint64 uid, AvatarCudaScalar place);

/* Creates a descriptor, which the graph owns. */
cudnnBackendDescriptor_t
avatar_cuda_graph_make (AvatarCudaGraph *graph, cudnnBackendDescriptorType_t type);
/* Sets an attribute of @descriptor to @n values. */
void avatar_cuda_graph_put (AvatarCudaGraph *graph, cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, gint64 n,
    const void *values);
void avatar_cuda_graph_put_descriptor (AvatarCudaGraph *graph, cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value);
/* Finalizes a descriptor whose attributes are all set. */
void avatar_cuda_graph_finish (AvatarCudaGraph *graph, cudnnBackendDescriptor_t descriptor);
/* Finalizes the descriptor of an operation and appends it to the graph. */
void avatar_cuda_graph_add (AvatarCudaGraph *graph, cudnnBackendDescriptor_t operation);

/* The functions below append an operation, computed in float32. */

/* y = @mode applied to x, or to x and b if @b is not %NULL. */
void avatar_cuda_graph_pointwise (AvatarCudaGraph *graph, cudnnPointwiseMode_t mode,
    cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b);
/* y = x reduced by @op to the shape of y. */
void avatar_cuda_graph_reduce (AvatarCudaGraph *graph, cudnnReduceTensorOp_t op,
    cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x);
/* y = x convolved with w, without padding. @stride: in time, height and width */
void avatar_cuda_graph_convolution (AvatarCudaGraph *graph, cudnnBackendDescriptor_t y,
    cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, const gint64 stride[3]);
/* c = a b. */
void avatar_cuda_graph_matmul (AvatarCudaGraph *graph, cudnnBackendDescriptor_t c,
    cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b);

/**
 * AvatarCudaGraphPlan:
 * @plan: (nullable): the execution plan; %NULL if the library has none
 * @reason: (nullable): the reason why there is none
 */
typedef struct
{
  cudnnBackendDescriptor_t plan;
  char *reason;
} AvatarCudaGraphPlan;

/* Makes a plan from the first configuration of the library that needs at most @workspace bytes, and
 * frees the graph's descriptors. */
AvatarCudaGraphPlan *
avatar_cuda_graph_plan (AvatarCudaGraph *graph, cudnnHandle_t handle, gsize workspace);
void avatar_cuda_graph_plan_free (gpointer plan); /* GDestroyNotify */
/* Enqueues @plan, with the addresses @pointers of the tensors @uids, @n each. @what is the name of
 * the operation. Returns FALSE with the error of @queue set on failure. */
gboolean avatar_cuda_graph_run (AvatarQueue *queue, const AvatarCudaGraphPlan *plan, gint64 n,
    const gint64 *uids, void *const *pointers, void *ws, const char *what);

G_END_DECLS
