/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end of estimates, device "plan:cuda:MIB": stands for a GPU with MIB MiB of memory. It
 * counts operations and computes nothing, so that a run can be planned on a machine without that
 * GPU, its driver or CUDA. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_estimate;

G_END_DECLS
