/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a GPU's context takes of its memory, in figures that a plan can use where there is none. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Context, cuBLAS, cuDNN and the kernels of every run, as measured on an H200; a run measures its
 * own. */
#define AVATAR_CUDA_CONTEXT ((guint64) 540 << 20)
/* Kernels that are loaded when they are first used, beyond those that the warm-up has loaded. */
#define AVATAR_CUDA_LATER ((guint64) 96 << 20)

G_END_DECLS
