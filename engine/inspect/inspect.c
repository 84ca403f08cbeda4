/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opens the components with the code of avatar_model_open(), but continues after a failure. */
#include "engine/inspect/inspect.h"

#include "engine/model/config-text-encoder.h"
#include "engine/inspect/inspect-encoder.h"
#include "engine/inspect/inspect-file.h"
#include "engine/inspect/inspect-loose.h"
#include "engine/formats/json.h"
#include "engine/model/layout.h"
#include "engine/model/component.h"
#include "engine/model/config-released.h"

#include <string.h>

typedef struct
{
  AvatarInspection *self;
  AvatarLayout layout;  /* layout of a download; otherwise form is NULL */
  AvatarConfig *config; /* NULL if it could not be read */
  GHashTable *seen;     /* absolute paths of the files of components */
  AvatarInspectFunc func;
  gpointer data;
} Job;

/* -------------------------------------------------------------------------------- one component */

static AvatarInspectedComponent *
add_component (Job *job, const char *name, const char *path, gboolean needed)
{
  AvatarInspectedComponent *component = avatar_inspected_component_new (name, path);

  if (job->func)
    job->func (name, job->data);
  component->needed = needed;
  g_ptr_array_add (job->self->components, component);
  g_hash_table_add (job->seen, g_canonicalize_filename (path, NULL));
  return component;
}

/* Returns FALSE if @path does not exist, after setting the problem with the download source. */
static gboolean
expect_file (const Job *job, AvatarInspectedComponent *component, const char *path)
{
  if (g_file_test (path, G_FILE_TEST_EXISTS))
    return TRUE;
  if (job->layout.form)
    avatar_inspected_component_fail (component, AVATAR_INSPECT_MISSING,
        "%s: there is no such file; download %s%s of %s", path, job->layout.form->above,
        path + strlen (job->layout.top) + 1, job->layout.form->source);
  else
    avatar_inspected_component_fail (component, AVATAR_INSPECT_MISSING,
        "%s: there is no such file; download it from where the rest of the folder comes from",
        path);
  return FALSE;
}

static void
list_extra (AvatarInspectedComponent *component, AvatarComponentKind kind, AvatarTensorFile *file,
    const AvatarComponent *opened)
{
  g_autoptr (GList) unread
      = g_list_sort (g_hash_table_get_keys (avatar_tensor_file_get_unusable (file)),
          (GCompareFunc) strcmp);

  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    const char *name = avatar_tensor_file_nth (file, i, NULL);
    g_autofree char *wanted = avatar_component_canonical_name (kind, name);

    if (wanted && !g_hash_table_contains (opened->tensors, wanted))
      avatar_inspected_component_add_extra (component, name);
  }
  /* a tensor that is needed and cannot be read is an error */
  for (GList *l = unread; l; l = l->next)
    avatar_inspected_component_add_extra (component, l->data);
}

/* Checks the component against the manifest. */
static void
check_part (const Job *job, AvatarInspectedComponent *component, AvatarComponentKind kind,
    const char *scales, AvatarTensorFile *file)
{
  g_autoptr (GError) error = NULL;
  AvatarComponent opened = { 0 };

  if (avatar_component_open (&opened, kind, component->path, scales, job->config,
          AVATAR_UNKNOWN_TENSORS_SKIP, &error))
    list_extra (component, kind, file, &opened);
  else
    avatar_inspected_component_fail (component,
        error->code == AVATAR_ERROR_NOT_FOUND ? AVATAR_INSPECT_MISSING : AVATAR_INSPECT_UNUSABLE,
        "%s", error->message);
  avatar_component_clear (&opened);
  /* The names in a plain folder are our own, so an unknown name is an error. */
  if (!job->layout.form && component->n_extra > 0)
    avatar_inspected_component_fail (component, AVATAR_INSPECT_UNUSABLE,
        "%s: %u tensors are not required by config.json, the first of them \"%s\"; the two do "
        "not belong together",
        component->path, component->n_extra, component->extra[0]);
}

static void
inspect_component (const Job *job, AvatarInspectedComponent *component, AvatarComponentKind kind,
    const char *scales)
{
  AvatarTensorFile *file = NULL, *factors = NULL;

  if (expect_file (job, component, component->path))
    file = avatar_inspected_component_open_file (component);
  if (scales && expect_file (job, component, scales)) {
    g_autoptr (AvatarInspectedComponent) beside = avatar_inspected_component_new ("", scales);

    g_hash_table_add (job->seen, g_canonicalize_filename (scales, NULL));
    avatar_inspected_component_add_file (component, scales);
    factors = avatar_inspected_component_open_file (beside);
    if (!factors)
      avatar_inspected_component_fail (component, beside->state, "%s", beside->problem);
    else
      avatar_inspected_component_count (component, factors);
    component->parameters -= beside->parameters;
  }
  if (file && job->config && component->state == AVATAR_INSPECT_FINE)
    check_part (job, component, kind, scales, file);
  g_clear_pointer (&file, avatar_tensor_file_free);
  g_clear_pointer (&factors, avatar_tensor_file_free);
}

/* ----------------------------------------------------------------------------------- a download */

/* The detector itself checks shapes when it is opened. */
static void
check_detector (const Job *job, AvatarInspectedComponent *component, AvatarTensorFile *file)
{
  static const char *const ends[] = { "0.stem_1.conv.weight", "23.m.2.weight" };
  const AvatarLayoutForm *form = job->layout.form;

  for (guint k = 0; k < G_N_ELEMENTS (ends); k++) {
    gboolean found = FALSE;

    for (guint i = 0; i < avatar_tensor_file_n (file) && !found; i++)
      found = g_str_has_suffix (avatar_tensor_file_nth (file, i, NULL), ends[k]);
    if (!found)
      avatar_inspected_component_fail (component, AVATAR_INSPECT_UNUSABLE,
          "%s: no tensor's name ends in \"%s\": this is not a YOLOv5-face detector; download that of %s",
          component->path, ends[k], form ? form->source : "tencent/HunyuanVideo-Avatar");
  }
}

static void
inspect_detector (Job *job, const char *path)
{
  AvatarInspectedComponent *component = add_component (job, "face detector", path, FALSE);
  AvatarTensorFile *file = expect_file (job, component, path)
      ? avatar_inspected_component_open_file (component)
      : NULL;

  if (file)
    check_detector (job, component, file);
  else if (component->state == AVATAR_INSPECT_MISSING)
    component->note
        = g_strdup ("without it, face-box gives the face, or else the whole picture moves");
  g_clear_pointer (&file, avatar_tensor_file_free);
}

static void
inspect_transformer (Job *job, const char *path, const char *scales, gboolean needed)
{
  const AvatarLayoutForm *form = job->layout.form;
  g_autofree char *file = g_path_get_basename (path);
  const char *name = form->transformer_names[0];

  for (guint i = 1; form->transformer_files[i]; i++)
    if (strcmp (file, form->transformer_files[i]) == 0)
      name = form->transformer_names[i];
  inspect_component (job, add_component (job, name, path, needed), AVATAR_COMPONENT_TRANSFORMER,
      scales);
}

/* Inspects the transformer that a run would use, and the others in the folder. */
static void
inspect_transformers (Job *job)
{
  const AvatarLayout *layout = &job->layout;
  g_autofree char *folder = g_path_get_dirname (layout->transformer);

  inspect_transformer (job, layout->transformer, layout->scales, TRUE);
  for (guint i = 0; layout->form->transformer_files[i]; i++) {
    g_autofree char *other = g_build_filename (folder, layout->form->transformer_files[i], NULL);
    g_autofree char *scales = NULL;

    if (strcmp (other, layout->transformer) == 0 || !g_file_test (other, G_FILE_TEST_EXISTS))
      continue;
    if (g_str_has_suffix (other, "_fp8.pt"))
      scales = g_strdup_printf ("%.*s_map.pt", (int) (strlen (other) - strlen (".pt")), other);
    inspect_transformer (job, other, scales, FALSE);
  }
}

static gboolean
inspect_download (Job *job, GError **error)
{
  const AvatarLayout *layout = &job->layout;
  g_autofree char *folder = g_path_get_dirname (layout->transformer);
  g_autofree char *own = g_build_filename (folder, "avatar-config.json", NULL);

  job->self->kind = AVATAR_INSPECTED_DOWNLOAD;
  job->self->id = layout->form->id;
  job->self->description = layout->form->description;
  job->self->released_sizes = !g_file_test (own, G_FILE_TEST_EXISTS);
  job->config = avatar_config_parse (layout->config, -1, own, error);
  if (!job->config
      || (job->config->text.kind == AVATAR_TEXT_LLAVA_CLIP
          && (!avatar_config_read_llava (&job->config->llava, layout->llava_config, layout->llava,
                  error)
              || !avatar_config_read_clip (&job->config->clip, layout->clip_config, layout->clip,
                  error))))
    return FALSE;
  inspect_transformers (job);
  inspect_component (job, add_component (job, "VAE", layout->vae, TRUE), AVATAR_COMPONENT_VAE,
      NULL);
  inspect_component (job, add_component (job, "speech encoder", layout->whisper, TRUE),
      AVATAR_COMPONENT_WHISPER, NULL);
  if (layout->text) {
    inspect_component (job, add_component (job, "text stub", layout->text, TRUE),
        AVATAR_COMPONENT_TEXT, NULL);
  } else {
    avatar_inspect_encoder (add_component (job, AVATAR_INSPECT_LLAVA, layout->llava, TRUE), layout,
        job->config, AVATAR_COMPONENT_LLAVA);
    avatar_inspect_encoder (add_component (job, AVATAR_INSPECT_CLIP, layout->clip, TRUE), layout,
        job->config, AVATAR_COMPONENT_CLIP);
    if (layout->vision)
      g_hash_table_add (job->seen, g_canonicalize_filename (layout->vision, NULL));
  }
  inspect_detector (job, layout->detector);
  return TRUE;
}

/* ------------------------------------------------------------------------------- a plain folder */

/* Requires any component, because every Hugging Face folder has a config.json. */
static gboolean
is_plain (const char *path)
{
  for (guint i = 0; i < AVATAR_N_PLAIN_COMPONENTS; i++) {
    g_autofree char *file = g_build_filename (path, avatar_component_file (i), NULL);

    if (g_file_test (file, G_FILE_TEST_EXISTS))
      return TRUE;
  }
  return FALSE;
}

static void
read_config (Job *job, AvatarInspectedComponent *component)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  gsize length;

  if (!expect_file (job, component, component->path))
    return;
  component->format = "JSON";
  avatar_inspected_component_add_file (component, component->path);
  text = avatar_json_read_config (component->path, &length, &error);
  if (text)
    job->config = avatar_config_parse (text, length, component->path, &error);
  if (!job->config)
    avatar_inspected_component_fail (component, AVATAR_INSPECT_UNUSABLE, "%s", error->message);
}

static void
inspect_plain (Job *job, const char *path)
{
  static const char *const names[] = { "transformer", "VAE", "speech encoder", "text stub" };
  g_autofree char *config = g_build_filename (path, "config.json", NULL);
  g_autofree char *detector = g_build_filename (path, AVATAR_PLAIN_DETECTOR, NULL);

  job->self->kind = AVATAR_INSPECTED_PLAIN;
  job->self->id = "plain";
  job->self->description = "a model's folder";
  read_config (job, add_component (job, "configuration", config, TRUE));
  for (guint i = 0; i < AVATAR_N_PLAIN_COMPONENTS; i++) {
    g_autofree char *file = g_build_filename (path, avatar_component_file (i), NULL);

    inspect_component (job, add_component (job, names[i], file, TRUE), i, NULL);
  }
  if (g_file_test (detector, G_FILE_TEST_EXISTS))
    inspect_detector (job, detector);
}

/* ----------------------------------------------------------------------------------- everything */

/* Inspects LoRA files and other weight files. */
static void
inspect_rest (Job *job, const char *path)
{
  static const char *const folders[] = { ".", "lora", "loras" };
  g_autoptr (AvatarConfig) released = avatar_config_released ();

  for (guint i = 0; i < G_N_ELEMENTS (folders); i++) {
    g_autofree char *folder = i ? g_build_filename (path, folders[i], NULL) : g_strdup (path);

    if (job->func && i == 0)
      job->func ("other files", job->data);
    avatar_inspect_folder (job->self, folder, job->config ? job->config : released, job->seen);
  }
}

/* Inspects a single file. Failure is an error, because there is nothing else to report. */
static gboolean
inspect_file (Job *job, const char *path, GError **error)
{
  g_autoptr (AvatarConfig) released = avatar_config_released ();
  AvatarInspectedComponent *component = avatar_inspect_loose (path, released);

  g_ptr_array_add (job->self->components, component);
  if (component->state == AVATAR_INSPECT_FINE || component->total.n > 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR,
      component->state == AVATAR_INSPECT_MISSING ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_FORMAT,
      "%s", component->problem);
  return FALSE;
}

static gboolean
inspect_any (Job *job, const char *path, GError **error)
{
  gboolean is_folder = g_file_test (path, G_FILE_TEST_IS_DIR);

  if (!is_folder && !g_file_test (path, G_FILE_TEST_EXISTS)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: there is no such file or folder; expected a model's folder or a file of weights",
        path);
    return FALSE;
  }
  if (!avatar_layout_survey (&job->layout, path, error))
    return FALSE;
  if (job->layout.form) {
    if (!inspect_download (job, error))
      return FALSE;
  } else if (!is_folder) {
    return inspect_file (job, path, error);
  } else if (is_plain (path)) {
    inspect_plain (job, path);
  }
  if (is_folder)
    inspect_rest (job, path);
  if (job->self->components->len > 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: nothing in this folder is recognised; expected the tree of tencent/HunyuanVideo-Avatar "
      "(weights/ckpts/...), Wan2GP's ckpts, config.json with a file for each component, or weight files",
      path);
  return FALSE;
}

AvatarInspection *
avatar_inspect (const char *path, AvatarInspectFunc func, gpointer data, GError **error)
{
  Job job = { .self = g_new0 (AvatarInspection, 1),
    .func = func,
    .data = data,
    .seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL) };
  gboolean done;

  job.self->kind = AVATAR_INSPECTED_FILES;
  job.self->id = "files";
  job.self->description = "weight files that are not a model";
  job.self->components
      = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_inspected_component_free);
  done = inspect_any (&job, path, error);
  job.self->config = job.config;
  g_hash_table_unref (job.seen);
  avatar_layout_clear (&job.layout);
  if (!done)
    g_clear_pointer (&job.self, avatar_inspection_free);
  return job.self;
}

void
avatar_inspection_free (AvatarInspection *self)
{
  if (!self)
    return;
  g_clear_pointer (&self->config, avatar_config_free);
  g_ptr_array_unref (self->components);
  g_free (self);
}

gboolean
avatar_inspection_is_usable (const AvatarInspection *self)
{
  for (guint i = 0; i < self->components->len; i++) {
    const AvatarInspectedComponent *component = self->components->pdata[i];

    if (component->state != AVATAR_INSPECT_FINE
        && (component->needed || self->kind == AVATAR_INSPECTED_FILES))
      return FALSE;
  }
  return TRUE;
}
