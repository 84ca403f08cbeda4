/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory that a CUDA context occupies, as constants for plans on machines without a GPU. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Context, cuBLAS, cuDNN and the kernels that every run loads, measured on an H200. A run on a GPU
 * measures its own value. */
#define AVATAR_CUDA_CONTEXT ((guint64) 540 << 20)
/* Allowance for kernels that are loaded at their first use, after the warm-up. */
#define AVATAR_CUDA_LATER ((guint64) 96 << 20)

G_END_DECLS
