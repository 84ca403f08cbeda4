/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A GPU that is not there, device "plan:cuda:MIB": it computes nothing and counts what would be
 * computed, so that a run on a card can be planned where there is no such card, driver or CUDA. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_estimate;

G_END_DECLS
