/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Building and running graphs of cuDNN operations. */
#pragma once

#include "engine/backends/cuda/cuda-private.h"

G_BEGIN_DECLS

/**
 * AvatarCudaGraph: descriptors that live while a plan is built; on the stack, all zero at first.
 * The first failure sticks: what is made afterwards is %NULL, and there is no plan in the end.
 */
typedef struct
{
  cudnnBackendDescriptor_t all[128], operations[32];
  guint n, n_operations;
  gint64 next_virtual; /* uids of intermediate tensors */
  cudnnStatus_t status;
  char reason[512]; /* for having no plan, in cuDNN's words */
} AvatarCudaGraph;

/* A tensor of @rank (3 .. 5) dimensions, strides in elements. @uid: what it is called when the plan
 * runs; 0 = an intermediate one, which has no memory. */
cudnnBackendDescriptor_t avatar_cuda_graph_tensor (AvatarCudaGraph *graph, gint64 uid,
    cudnnDataType_t type, guint rank, const gint64 *dims, const gint64 *strides);
/* One float32 of four dimensions: @by_value on the host, else in the device's memory. */
cudnnBackendDescriptor_t
avatar_cuda_graph_scalar (AvatarCudaGraph *graph, gint64 uid, gboolean by_value);

cudnnBackendDescriptor_t
avatar_cuda_graph_make (AvatarCudaGraph *graph, cudnnBackendDescriptorType_t type);
void avatar_cuda_graph_put (AvatarCudaGraph *graph, cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, gint64 n,
    const void *values);
void avatar_cuda_graph_put_descriptor (AvatarCudaGraph *graph, cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value);
void avatar_cuda_graph_finish (AvatarCudaGraph *graph, cudnnBackendDescriptor_t descriptor);
/* Finishes an operation, which joins the graph. */
void avatar_cuda_graph_add (AvatarCudaGraph *graph, cudnnBackendDescriptor_t operation);

/* Operations in float32: y = x, or x and b, by @mode; y = x reduced to its shape; c = a b. */
void avatar_cuda_graph_pointwise (AvatarCudaGraph *graph, cudnnPointwiseMode_t mode,
    cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b);
void avatar_cuda_graph_reduce (AvatarCudaGraph *graph, cudnnReduceTensorOp_t op,
    cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t x);
/* y = x convolved with w, without padding; strides in time, height and width. */
void avatar_cuda_graph_convolution (AvatarCudaGraph *graph, cudnnBackendDescriptor_t y,
    cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, const gint64 stride[3]);
void avatar_cuda_graph_matmul (AvatarCudaGraph *graph, cudnnBackendDescriptor_t c,
    cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b);

/* @plan: %NULL if the library has none, which is for @reason */
typedef struct
{
  cudnnBackendDescriptor_t plan;
  char *reason;
} AvatarCudaGraphPlan;

/* The first engine that the library proposes and that wants no more than @workspace bytes. Frees the
 * descriptors. */
AvatarCudaGraphPlan *
avatar_cuda_graph_plan (AvatarCudaGraph *graph, cudnnHandle_t handle, gsize workspace);
void avatar_cuda_graph_plan_free (gpointer plan); /* GDestroyNotify */
/* Runs @plan on the queue. FALSE with the queue's error. */
gboolean avatar_cuda_graph_run (AvatarQueue *queue, const AvatarCudaGraphPlan *plan, gint64 n,
    const gint64 *uids, void *const *pointers, void *ws, const char *what);

G_END_DECLS
