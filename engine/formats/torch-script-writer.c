/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writer of modules without methods: an object for each module, and the source of its class, which
 * torch.jit.load() requires. */
#include "engine/formats/torch-writer.h"

#include <string.h>

/* A module that is being written: its class and attributes. */
typedef struct
{
  char *name, *class;
  GString *parameters, *buffers, *attributes;
} Module;

typedef struct
{
  GByteArray *pickle;
  GString *code;
  GPtrArray *open; /* array of Module, outermost first */
} Writer;

static void
put_text (GByteArray *out, const char *text)
{
  g_byte_array_append (out, (const guint8 *) text, strlen (text));
}

/* Declares an attribute in the source of the class. Attributes whose name is a number need another
 * syntax. */
static void
declare (Module *owner, const char *name, const char *type)
{
  if (g_ascii_isdigit (*name))
    g_string_append_printf (owner->attributes, "  __annotations__[\"%s\"] = %s\n", name, type);
  else
    g_string_append_printf (owner->attributes, "  %s : %s\n", name, type);
}

static Module *
innermost (Writer *w)
{
  return w->open->pdata[w->open->len - 1];
}

/* Begins a module. @name: (nullable): %NULL for the outermost module */
static void
open_module (Writer *w, const char *name)
{
  Module *m = g_new0 (Module, 1);

  m->name = g_strdup (name);
  m->class = name ? g_strconcat (innermost (w)->class, "_", name, NULL) : g_strdup ("Detector");
  m->parameters = g_string_new (NULL);
  m->buffers = g_string_new (NULL);
  m->attributes = g_string_new (NULL);
  if (name) {
    g_autofree char *type = g_strconcat ("__torch__.", m->class, NULL);

    declare (innermost (w), name, type);
    avatar_torch_put_string (w->pickle, name);
  }
  g_ptr_array_add (w->open, m);
  put_text (w->pickle, "c__torch__\n");
  put_text (w->pickle, m->class);
  put_text (w->pickle, "\n)\x81}(");
}

static void
close_module (Writer *w)
{
  Module *m = g_ptr_array_steal_index (w->open, w->open->len - 1);

  put_text (w->pickle, "ub");
  g_string_append_printf (w->code,
      "class %s(Module):\n  __parameters__ = [%s]\n  __buffers__ = [%s]\n%s", m->class,
      m->parameters->str, m->buffers->str, m->attributes->str);
  g_string_free (m->parameters, TRUE);
  g_string_free (m->buffers, TRUE);
  g_string_free (m->attributes, TRUE);
  g_free (m->class);
  g_free (m->name);
  g_free (m);
}

/* Opens and closes modules until the modules of @path, which is all but its last element, are
 * open. */
static void
open_path (Writer *w, char **path)
{
  guint n = g_strv_length (path) - 1, same = 0;

  while (same < n && same + 1 < w->open->len
      && strcmp (((Module *) w->open->pdata[same + 1])->name, path[same]) == 0)
    same++;
  while (w->open->len > same + 1)
    close_module (w);
  for (; same < n; same++)
    open_module (w, path[same]);
}

static void
put_tensor (Writer *w, const AvatarNamedTensor *t, guint key)
{
  g_auto (GStrv) path = g_strsplit (t->name, ".", -1);
  const char *name = path[g_strv_length (path) - 1];
  gboolean is_parameter = strcmp (name, "weight") == 0 || strcmp (name, "bias") == 0;
  Module *owner;

  open_path (w, path);
  owner = innermost (w);
  g_string_append_printf (is_parameter ? owner->parameters : owner->buffers, "\"%s\", ", name);
  declare (owner, name, "Tensor");
  avatar_torch_put_string (w->pickle, name);
  avatar_torch_put_tensor (w->pickle, t->tensor, key);
}

gboolean
avatar_write_torch_script (const char *path, GArray *tensors, AvatarFillFunc fill, gpointer data,
    GError **error)
{
  static const char no_constants[] = "\x80\x02).";
  g_autoptr (GByteArray) pickle = g_byte_array_new ();
  g_autoptr (GPtrArray) open = g_ptr_array_new ();
  g_autoptr (GString) code = g_string_new (NULL);
  Writer w = { pickle, code, open };

  put_text (pickle, "\x80\x02");
  open_module (&w, NULL);
  for (guint i = 0; i < tensors->len; i++)
    put_tensor (&w, &g_array_index (tensors, AvatarNamedTensor, i), i);
  while (open->len > 0)
    close_module (&w);
  put_text (pickle, ".");
  return avatar_write_torch_archive (path, pickle,
      (const AvatarTorchExtra[]){ { "/code/__torch__.py", code->str, code->len },
          { "/constants.pkl", no_constants, sizeof no_constants - 1 } },
      2, tensors, fill, data, error);
}
