/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attributes of modules that torch.jit.save() wrote. Their code is not read. */
#pragma once

#include "engine/formats/pickle.h"

G_BEGIN_DECLS

/* @name: path of an attribute, such as "model.0.conv.weight"
 * @value: its value */
typedef void (*AvatarScriptFunc) (const char *name, const AvatarPickleNode *value, gpointer data);

/* Calls @func with @data for every attribute that is not a module.
 * @root: outermost module, or a tuple
 * @prefix: first part of all paths
 * @file: name of the file for errors
 * Returns: FALSE with AVATAR_ERROR_FORMAT if @root is not a module, or nesting is too deep. */
gboolean avatar_torch_script_walk (AvatarPickle *pickle, const AvatarPickleNode *root,
    const char *prefix, AvatarScriptFunc func, gpointer data, const char *file, GError **error);

G_END_DECLS
