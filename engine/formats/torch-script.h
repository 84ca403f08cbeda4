/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Modules that torch.jit.save() has written, as data. Their code is not read. */
#pragma once

#include "engine/formats/pickle.h"

G_BEGIN_DECLS

typedef void (*AvatarScriptFunc) (const char *name, const AvatarPickleNode *value, gpointer data);

/* Calls @func for every attribute that is not a module, with its path from @root, such as
 * "model.0.conv.weight". @file: path of the file, for messages */
gboolean avatar_torch_script_walk (AvatarPickle *pickle, const AvatarPickleNode *root,
    const char *prefix, AvatarScriptFunc func, gpointer data, const char *file, GError **error);

G_END_DECLS
