/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of properties and of the portrait while playing. The task applies them between two
 * windows and posts from where in the stream they are valid. If that fails, the previous
 * settings stay. */
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

GST_DEBUG_CATEGORY_EXTERN (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

typedef struct
{
  GstAvatarDenoiseProps props; /* all settings after the change */
  guint64 ids;                 /* bits: the properties that change */
  AvatarImage *picture;        /* (nullable): new portrait */
  gboolean from_pad;
  gboolean speakers; /* faces of further speakers change */
} Change;

static void
change_clear (Change *change)
{
  gst_avatar_denoise_props_clear (&change->props);
  g_clear_pointer (&change->picture, avatar_image_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Change, change_clear)

static gboolean
has_reference_pad (GstAvatarDenoise *self)
{
  gboolean has;

  GST_OBJECT_LOCK (self);
  has = self->refpad != NULL;
  GST_OBJECT_UNLOCK (self);
  return has;
}

/* Resets the properties @ids to the settings in use, unless they were set again meanwhile. */
static void
restore (GstAvatarDenoise *self, guint64 ids)
{
  GST_OBJECT_LOCK (self);
  ids &= ~self->changed;
  gst_avatar_denoise_props_take (&self->props, &self->active, ids);
  GST_OBJECT_UNLOCK (self);
  gst_avatar_denoise_props_notify (G_OBJECT (self), ids);
}

static void
warn (GstAvatarDenoise *self, GError *error)
{
  g_prefix_error (&error,
      "a change while playing is rejected, and the previous settings stay in use: ");
  gst_avatar_report_warning (self, error);
}

/* Collects the changes since the last call. Returns %FALSE if there are none. */
static gboolean
collect (GstAvatarDenoise *self, Change *change)
{
  g_autoptr (GError) error = NULL;

  GST_OBJECT_LOCK (self);
  change->ids = gst_avatar_denoise_props_differ (&self->active, &self->props, self->changed);
  change->ids |= self->changed & GST_AVATAR_DENOISE_REFERENCE; /* the file may have changed */
  self->changed = 0;
  change->speakers = self->faces_changed && self->voices->len > 0;
  self->faces_changed = FALSE;
  gst_avatar_denoise_props_copy (&change->props, &self->active);
  gst_avatar_denoise_props_take (&change->props, &self->props, change->ids);
  GST_OBJECT_UNLOCK (self);
  change->picture = gst_avatar_reference_take_next (&self->reference, &error);
  change->from_pad = change->picture != NULL;
  if (error)
    warn (self, g_steal_pointer (&error));
  return change->ids != 0 || change->picture || change->speakers;
}

/* Loads the file that the property reference names. Other settings change even if this fails. */
static void
load_picture (GstAvatarDenoise *self, Change *change)
{
  const gchar *path = change->props.reference;
  GError *error = NULL;

  if (!(change->ids & GST_AVATAR_DENOISE_REFERENCE))
    return;
  if (has_reference_pad (self))
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "reference is \"%s\", but the portrait comes from the reference pad; send a picture there, or "
        "release the pad",
        path ? path : "");
  else if (!path || !*path)
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "reference is empty; expected the path of a PNG or JPEG file");
  else
    change->picture = avatar_image_load (path, &error);
  if (!error)
    return;
  warn (self, error);
  restore (self, GST_AVATAR_DENOISE_REFERENCE);
  change->ids &= ~GST_AVATAR_DENOISE_REFERENCE;
  gst_avatar_denoise_props_take (&change->props, &self->active, GST_AVATAR_DENOISE_REFERENCE);
}

/* Limits the steps by the late policy, unless the denoiser has prepared fewer of them, which a
 * window then chooses. A list of sigmas has as many values as there are steps. */
static void
limit_steps (GstAvatarDenoise *self, AvatarDenoiseSettings *settings)
{
  if (settings->min_steps == 0 && settings->n_sigmas == 0)
    settings->steps = gst_avatar_denoise_limit_steps (self, settings->steps);
}

/* Returns %TRUE if the denoiser needs the fitted @portrait again: it is another one, or other faces
 * may have moved the crop around them. */
static gboolean
needs_reference (GstAvatarDenoise *self, const Change *change, const AvatarImage *portrait)
{
  return change->picture
      || avatar_image_is_cropped (portrait, self->client.engine->model, self->width, self->height);
}

/* Applies @change to the denoiser. @faces: (out): the new faces. @moved: (out): there are any */
static gboolean
apply (GstAvatarDenoise *self, const Change *change, GstAvatarFaces *faces, gboolean *moved,
    GError **error)
{
  AvatarDenoiseSettings settings;
  g_autoptr (AvatarImage) fitted = NULL;
  const AvatarImage *portrait = change->picture, *reference = NULL;

  if (!gst_avatar_denoise_props_check (&change->props, error))
    return FALSE;
  gst_avatar_denoise_props_apply (&change->props, self->client.engine->model, &settings);
  limit_steps (self, &settings);
  settings.width = self->width;
  settings.height = self->height;
  if ((change->ids & GST_AVATAR_DENOISE_FACE_BOX || change->speakers) && !portrait) {
    portrait = gst_avatar_reference_wait (&self->reference, error);
    if (!portrait)
      return FALSE;
  }
  *moved = portrait != NULL;
  if (portrait) {
    fitted = gst_avatar_denoise_fit (self, portrait, self->width, self->height, &change->props,
        faces, error);
    if (!fitted)
      return FALSE;
    reference = needs_reference (self, change, portrait) ? fitted : NULL;
  }
  if (reference)
    gst_avatar_denoise_measure (self, reference);
  gst_avatar_faces_apply (*moved ? faces : &self->faces, &settings);
  return avatar_denoiser_change (self->denoiser, &settings, reference, error);
}

gboolean
gst_avatar_denoise_change_steps (GstAvatarDenoise *self, GError **error)
{
  AvatarDenoiseSettings settings;

  gst_avatar_denoise_props_apply (&self->active, self->client.engine->model, &settings);
  if (settings.min_steps > 0)
    return TRUE; /* the next window uses the limit */
  limit_steps (self, &settings);
  settings.width = self->width;
  settings.height = self->height;
  gst_avatar_faces_apply (&self->faces, &settings);
  return avatar_denoiser_change (self->denoiser, &settings, NULL, error);
}

/* Posts the settings of the next window. */
static void
report_change (GstAvatarDenoise *self, const Change *change)
{
  GstStructure *s = gst_structure_new ("avatar-settings", "window", G_TYPE_UINT,
      self->last_window + 1, "timestamp", GST_TYPE_CLOCK_TIME,
      gst_avatar_denoise_frame_to_pts (self, gst_avatar_denoise_first_frame (self->n_latents)),
      NULL);

  gst_avatar_denoise_props_describe (&change->props, change->ids, s);
  if (change->speakers)
    gst_structure_set (s, "speakers", G_TYPE_BOOLEAN, TRUE, NULL);
  if (change->from_pad)
    gst_structure_set (s, "reference-pad", G_TYPE_BOOLEAN, TRUE, NULL);
  gst_element_post_message (GST_ELEMENT (self), gst_message_new_element (GST_OBJECT (self), s));
}

/* Makes @change the settings in use. @faces: (nullable): the new faces, which are taken */
static void
adopt (GstAvatarDenoise *self, Change *change, GstAvatarFaces *faces)
{
  GST_OBJECT_LOCK (self);
  gst_avatar_denoise_props_take (&self->active, &change->props, change->ids);
  GST_OBJECT_UNLOCK (self);
  if (faces) {
    gst_avatar_faces_clear (&self->faces);
    self->faces = *faces;
    *faces = (GstAvatarFaces){ 0 };
  }
  report_change (self, change);
  if (change->ids & GST_AVATAR_DENOISE_LORA)
    gst_avatar_denoise_report_warnings (self);
  if (change->ids & GST_AVATAR_DENOISE_PROMPTS)
    gst_avatar_denoise_report_truncations (self);
  if (change->picture)
    gst_avatar_reference_set (&self->reference, g_steal_pointer (&change->picture));
}

/* Keeps @change until after the flush that has interrupted it. */
static GstFlowReturn
postpone (GstAvatarDenoise *self, Change *change, GError *error)
{
  g_error_free (error);
  GST_OBJECT_LOCK (self);
  self->changed |= change->ids;
  self->faces_changed |= change->speakers;
  GST_OBJECT_UNLOCK (self);
  if (change->from_pad)
    gst_avatar_reference_put_back (&self->reference, g_steal_pointer (&change->picture));
  gst_avatar_denoise_end_progress (self, GST_PROGRESS_TYPE_CANCELED, "cancelled");
  return GST_FLOW_FLUSHING;
}

GstFlowReturn
gst_avatar_denoise_apply_changes (GstAvatarDenoise *self)
{
  g_auto (Change) change = { 0 };
  g_auto (GstAvatarFaces) faces = { 0 };
  gboolean moved = FALSE;
  GError *error = NULL;

  if (!collect (self, &change))
    return GST_FLOW_OK;
  load_picture (self, &change);
  if (change.ids == 0 && !change.picture && !change.speakers)
    return GST_FLOW_OK;
  if (apply (self, &change, &faces, &moved, &error)) {
    adopt (self, &change, moved ? &faces : NULL);
    return GST_FLOW_OK;
  }
  if (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED))
    return postpone (self, &change, error);
  gst_avatar_denoise_end_progress (self, GST_PROGRESS_TYPE_ERROR, "rejected");
  warn (self, error);
  restore (self, change.ids);
  return GST_FLOW_OK;
}

gboolean
gst_avatar_denoise_adopt_all (GstAvatarDenoise *self, GError **error)
{
  g_autofree gchar *path = NULL;
  gboolean reload;

  GST_OBJECT_LOCK (self);
  if (self->has_active) {
    gst_avatar_denoise_props_take (&self->active, &self->props, self->changed);
  } else {
    gst_avatar_denoise_props_clear (&self->active);
    gst_avatar_denoise_props_copy (&self->active, &self->props);
  }
  self->has_active = TRUE;
  reload = (self->changed & GST_AVATAR_DENOISE_REFERENCE) && !self->refpad;
  path = g_strdup (self->active.reference);
  self->changed = 0;
  GST_OBJECT_UNLOCK (self);
  return !reload || gst_avatar_reference_load (&self->reference, path ? path : "", error);
}

void
gst_avatar_denoise_property_set (GstAvatarDenoise *self, guint id, GParamSpec *pspec)
{
  gboolean too_late;

  GST_OBJECT_LOCK (self);
  too_late = self->has_active
      && gst_avatar_denoise_props_differ (&self->active, &self->props,
          G_GUINT64_CONSTANT (1) << id);
  if (gst_avatar_denoise_props_is_changeable (id)) {
    self->changed |= G_GUINT64_CONSTANT (1) << id;
    too_late = FALSE;
  }
  GST_OBJECT_UNLOCK (self);
  if (too_late)
    gst_avatar_report_too_late (GST_ELEMENT (self), pspec->name);
}
