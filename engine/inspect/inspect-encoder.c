/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The weights may be in one file or in two. Configuration and tokenizer must be in the same
 * folder. */
#include "engine/inspect/inspect-encoder.h"

#include "engine/inspect/inspect-file.h"
#include "engine/model/component.h"

#include <string.h>

/* groups: name prefixes, each of which must have tensors.
 * advice: additional source of missing tensors. */
typedef struct
{
  AvatarComponentKind kind;
  const char *groups[4], *advice;
} Encoder;

static const Encoder encoders[] = {
  { AVATAR_COMPONENT_LLAVA, { "language_model.", "vision_tower.", "multi_modal_projector." },
      "; if this file has only the language model, add its vision tower to the folder: "
      "llava_llama3_vision.safetensors of Comfy-Org/HunyuanVideo_repackaged, or the *mmproj*.gguf "
      "that belongs to it" },
  { AVATAR_COMPONENT_CLIP, { "text_model." }, "" },
};

/* State of one inspection. */
typedef struct
{
  AvatarInspectedComponent *component;
  const AvatarLayoutForm *form;
  const AvatarLayoutEncoder *where;
  const AvatarConfig *config;
  const Encoder *encoder;
  const char *second; /* separate file of missing tensors, or NULL */
  char *folder;
} Job;

static gboolean
begins_with (const char *name, const char *const *prefixes, guint *which)
{
  if (g_str_has_prefix (name, "model.")) /* newer versions of the library */
    name += strlen ("model.");
  for (guint i = 0; prefixes[i]; i++)
    if (g_str_has_prefix (name, prefixes[i])) {
      *which = i;
      return TRUE;
    }
  return FALSE;
}

/* Matches the stored name, or the name in the release. */
static void
count_groups (const Job *job, AvatarTensorFile *file, guint *counts)
{
  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    const char *name = avatar_tensor_file_nth (file, i, NULL);
    g_autofree char *canonical = avatar_component_canonical_name (job->encoder->kind, name);
    guint group;

    if (begins_with (name, job->encoder->groups, &group)
        || (canonical && begins_with (canonical, job->encoder->groups, &group)))
      counts[group]++;
    else if (canonical)
      avatar_inspected_component_add_extra (job->component, name);
  }
}

/* Counts the groups in the file and in the second one. */
static void
check_groups (const Job *job, AvatarTensorFile *file, AvatarTensorFile *second)
{
  guint counts[G_N_ELEMENTS (job->encoder->groups)] = { 0 };

  count_groups (job, file, counts);
  if (second)
    count_groups (job, second, counts);
  for (guint i = 0; job->encoder->groups[i]; i++)
    if (counts[i] == 0)
      avatar_inspected_component_fail (job->component, AVATAR_INSPECT_UNUSABLE,
          "%s: no tensor's name begins with \"%s\": it has other weights; download those of %s%s",
          job->component->path, job->encoder->groups[i], job->form->source, job->encoder->advice);
}

/* Returns TRUE if vision tower and projector are in a separate file. */
static gboolean
lacks_vision_tower (const Job *job, AvatarTensorFile *file)
{
  static const char *const tower[] = { "vision_tower.", NULL };
  guint group;

  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    g_autofree char *name = avatar_component_canonical_name (job->encoder->kind,
        avatar_tensor_file_nth (file, i, NULL));

    if (name && begins_with (name, tower, &group))
      return FALSE;
  }
  return TRUE;
}

/* Adds a second file of weights to the component. */
static AvatarTensorFile *
inspect_second (const Job *job)
{
  g_autoptr (AvatarInspectedComponent) second = avatar_inspected_component_new ("", job->second);
  AvatarTensorFile *file = avatar_inspected_component_open_file (second);

  avatar_inspected_component_add_file (job->component, job->second);
  if (file)
    avatar_inspected_component_count (job->component, file);
  else
    avatar_inspected_component_fail (job->component, second->state, "%s", second->problem);
  return file;
}

static void
inspect_file (const Job *job)
{
  AvatarTensorFile *file = avatar_inspected_component_open_file (job->component), *more = NULL;

  if (file && job->second && lacks_vision_tower (job, file))
    more = inspect_second (job);
  if (file)
    check_groups (job, file, more);
  g_clear_pointer (&file, avatar_tensor_file_free);
  g_clear_pointer (&more, avatar_tensor_file_free);
}

/* Checks the tensors that are used. Every file has unused ones too. */
static gboolean
fits (const Job *job, GError **error)
{
  AvatarComponent opened = { 0 };
  gboolean done = avatar_component_open (&opened, job->encoder->kind, job->component->path,
      job->second, job->config, AVATAR_UNKNOWN_TENSORS_SKIP, error);

  avatar_component_clear (&opened);
  return done;
}

/* Returns TRUE if any of @names, "a
 * b", exists. */
static gboolean
is_there (const char *folder, const char *names)
{
  g_auto (GStrv) list = g_strsplit (names, "|", -1);
  gboolean found = FALSE;

  for (guint i = 0; list[i] && !found; i++) {
    g_autofree char *path = g_build_filename (folder, list[i], NULL);

    found = g_file_test (path, G_FILE_TEST_EXISTS);
  }
  return found;
}

static void
add_name (GString *list, const char *names)
{
  const char *end = strchr (names, '|');

  if (list->len)
    g_string_append (list, ", ");
  g_string_append_len (list, names, end ? end - names : (gssize) strlen (names));
}

/* Lists the required files that are missing. The configuration may be missing if the released sizes
 * are right. */
static void
list_missing (const Job *job, GString *missing)
{
  gboolean sized = is_there (job->folder, job->where->required[0]);
  gboolean used = job->config->text.kind == AVATAR_TEXT_LLAVA_CLIP;

  if (!sized && (missing->len || (used && !fits (job, NULL))))
    add_name (missing, job->where->required[0]);
  else if (!sized)
    job->component->note = g_strdup_printf ("there is no %s, so the released sizes are used",
        job->where->required[0]);
  for (guint i = 1; job->where->required[i]; i++)
    if (!is_there (job->folder, job->where->required[i]))
      add_name (missing, job->where->required[i]);
}

static void
check (const Job *job)
{
  g_autoptr (GError) error = NULL;

  if (job->config->text.kind != AVATAR_TEXT_LLAVA_CLIP) {
    g_free (job->component->note);
    job->component->note = g_strdup ("not used: text.kind of the configuration is \"bytes\"");
  } else if (job->component->state == AVATAR_INSPECT_FINE && !fits (job, &error)) {
    avatar_inspected_component_fail (job->component,
        error->code == AVATAR_ERROR_NOT_FOUND ? AVATAR_INSPECT_MISSING : AVATAR_INSPECT_UNUSABLE,
        "%s", error->message);
  }
}

void
avatar_inspect_encoder (AvatarInspectedComponent *component, const AvatarLayout *layout,
    const AvatarConfig *config, AvatarComponentKind encoder)
{
  const gboolean clip = encoder == AVATAR_COMPONENT_CLIP;
  const AvatarLayoutEncoder *where = clip ? &layout->form->clip : &layout->form->llava;
  g_autofree char *folder = g_build_filename (layout->top, where->folder, NULL);
  const Job job = { component, layout->form, where, config,
    &encoders[encoder - AVATAR_COMPONENT_LLAVA], clip ? NULL : layout->vision, folder };
  g_autoptr (GString) missing = g_string_new (NULL);

  if (g_file_test (component->path, G_FILE_TEST_EXISTS))
    inspect_file (&job);
  else
    g_string_append_printf (missing, "%s%s", where->files[0],
        g_str_has_suffix (where->files[0], ".index.json") ? " with its shards" : "");
  if (component->state == AVATAR_INSPECT_FINE)
    list_missing (&job, missing);
  if (missing->len)
    avatar_inspected_component_fail (component, AVATAR_INSPECT_MISSING,
        "%s: there is no %s; download %s%s of %s", folder, missing->str, layout->form->above,
        where->folder, layout->form->source);
  else
    check (&job);
}
