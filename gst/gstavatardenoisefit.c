/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portrait of avatardenoise: fits it to the video around the face of one or of several speakers. */
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

/* Runs the model's face detector. An unsupported detector network is not fatal: the whole
 * picture is animated, with a warning. */
static AvatarFaceSearch
find_face (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  AvatarFaceSearch result = avatar_image_find_face (image, self->client.engine->model,
      self->client.engine->device, width, height, face, &local_error);

  if (g_error_matches (local_error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH)) {
    gst_avatar_report_warning (self, g_steal_pointer (&local_error));
    return AVATAR_FACE_NO_DETECTOR;
  }
  if (local_error)
    g_propagate_error (error, g_steal_pointer (&local_error));
  return result;
}

void
gst_avatar_faces_apply (const GstAvatarFaces *faces, AvatarDenoiseSettings *settings)
{
  settings->face_box = faces->first;
  settings->speakers = faces->n_others ? faces->others : NULL;
  settings->n_speakers = faces->n_others;
}

void
gst_avatar_faces_clear (GstAvatarFaces *faces)
{
  for (guint i = 0; i < faces->n_others; i++)
    avatar_image_free ((AvatarImage *) faces->others[i].face_mask);
  *faces = (GstAvatarFaces){ 0 };
}

/* Enlarges @all to contain @box. */
static void
extend (AvatarFaceBox *all, const AvatarFaceBox *box)
{
  gdouble right = MAX (all->x + all->width, box->x + box->width);
  gdouble bottom = MAX (all->y + all->height, box->y + box->height);

  if (all->width > 0) {
    all->x = MIN (all->x, box->x);
    all->y = MIN (all->y, box->y);
    all->width = right - all->x;
    all->height = bottom - all->y;
  } else {
    *all = *box;
  }
}

/* Converts @box, in pixels of the file of @image, to pixels of @image. */
static gboolean
convert_box (const AvatarImage *image, const AvatarBox *box, const gchar *whose,
    AvatarFaceBox *face, GError **error)
{
  gdouble shrunk = MAX (image->shrunk, 1);

  *face = (AvatarFaceBox){ box->x / shrunk, box->y / shrunk, box->width / shrunk,
    box->height / shrunk };
  if (face->x + face->width <= image->width && face->y + face->height <= image->height)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "%s: face-box %u,%u,%u,%u is not inside the portrait of %.0f x %.0f pixels", whose, box->x,
      box->y, box->width, box->height, image->width * shrunk, image->height * shrunk);
  return FALSE;
}

/* Gets the face of the first speaker, from the property or the detector. */
static gboolean
get_first_face (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const GstAvatarDenoiseProps *props, AvatarFaceBox *face, GError **error)
{
  AvatarFaceSearch result;
  AvatarBox box;

  if (!gst_avatar_box_parse (props->face_box, &box, error))
    return FALSE;
  if (box.width > 0)
    return convert_box (image, &box, "avatardenoise", face, error);
  result = find_face (self, image, width, height, face, error);
  if (result == AVATAR_FACE_FOUND)
    return TRUE;
  if (result != AVATAR_FACE_ERROR)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "no face was found for the first of several speakers; set face-box=x,y,width,height of the "
        "element, too");
  return FALSE;
}

/* Sets @face to the bounds of the white part of @mask. */
static void
get_bounds (const AvatarImage *mask, AvatarFaceBox *face)
{
  *face = (AvatarFaceBox){ 0 };
  for (guint y = 0; y < mask->height; y++)
    for (guint x = 0; x < mask->width; x++)
      if (mask->data[(gsize) y * mask->stride + x * mask->channels] >= 128)
        extend (face, &(AvatarFaceBox){ x, y, 1, 1 });
}

/* Loads the mask of @pad. @face: (out): its bounds */
static AvatarImage *
load_mask (const AvatarImage *image, GstAvatarSpeakerPad *pad, const gchar *path,
    AvatarFaceBox *face, GError **error)
{
  g_autoptr (AvatarImage) mask = avatar_image_load (path, error);

  if (!mask) {
    g_prefix_error (error, "%s: ", GST_PAD_NAME (pad));
    return NULL;
  }
  get_bounds (mask, face);
  if (mask->width == image->width && mask->height == image->height && face->width > 0)
    return g_steal_pointer (&mask);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "%s: the face mask %s has %u x %u pixels and %s; expected the size of the portrait, %u x %u, "
      "and white pixels on the face",
      GST_PAD_NAME (pad), path, mask->width, mask->height,
      face->width > 0 ? "a white part" : "no white part", image->width, image->height);
  return NULL;
}

/* Gets the face of the speaker of @pad. @mask: (out): its mask, or %NULL */
static gboolean
get_face (const AvatarImage *image, GstAvatarSpeakerPad *pad, AvatarFaceBox *face,
    AvatarImage **mask, GError **error)
{
  g_autofree gchar *face_box = NULL, *face_mask = NULL;
  AvatarBox box;

  *mask = NULL;
  if (!gst_avatar_speaker_pad_check (pad, &box, error))
    return FALSE;
  if (box.width > 0)
    return convert_box (image, &box, GST_PAD_NAME (pad), face, error);
  gst_avatar_speaker_pad_get_face (pad, &face_box, &face_mask);
  *mask = load_mask (image, pad, face_mask ? face_mask : "", face, error);
  return *mask != NULL;
}

/* Gets all faces in pixels of @image. @masks: (out): in the size of @image */
static gboolean
get_faces (GstAvatarDenoise *self, const AvatarImage *image, AvatarImage **masks,
    GstAvatarFaces *faces, AvatarFaceBox *all, GError **error)
{
  extend (all, &faces->first);
  for (guint i = 0; i < self->voices->len; i++) {
    if (!get_face (image, self->voices->pdata[i], &faces->others[i].face_box, &masks[i], error))
      return FALSE;
    faces->n_others++;
    extend (all, &faces->others[i].face_box);
  }
  return TRUE;
}

/* Moves @box from the portrait to the video. @from, @to: the same rectangle on both */
static void
move_box (AvatarFaceBox *box, const AvatarFaceBox *from, const AvatarFaceBox *to)
{
  gdouble x = to->width / from->width, y = to->height / from->height;

  *box = (AvatarFaceBox){ to->x + (box->x - from->x) * x, to->y + (box->y - from->y) * y,
    box->width * x, box->height * y };
}

/* Crops and scales picture and masks around the rectangle @all, which contains all faces, and moves
 * the faces. */
static AvatarImage *
fit_all (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarImage *const *masks, GstAvatarFaces *faces, const AvatarFaceBox *all, GError **error)
{
  AvatarModel *model = self->client.engine->model;
  AvatarFaceBox fitted_all = *all;
  g_autoptr (AvatarImage) fitted
      = avatar_image_fit_face (image, model, width, height, &fitted_all, error);

  if (!fitted)
    return NULL;
  move_box (&faces->first, all, &fitted_all);
  for (guint i = 0; i < faces->n_others; i++) {
    AvatarFaceBox box = *all;

    move_box (&faces->others[i].face_box, all, &fitted_all);
    if (!masks[i])
      continue;
    faces->others[i].face_mask
        = avatar_image_fit_face (masks[i], model, fitted->width, fitted->height, &box, error);
    if (!faces->others[i].face_mask)
      return NULL;
  }
  return g_steal_pointer (&fitted);
}

/* Fits the portrait around the faces of all speakers. */
static AvatarImage *
fit_speakers (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const GstAvatarDenoiseProps *props, GstAvatarFaces *faces, GError **error)
{
  AvatarImage *masks[AVATAR_MAX_SPEAKERS - 1] = { NULL }, *fitted = NULL;
  AvatarFaceBox all = { 0 };

  if (get_first_face (self, image, width, height, props, &faces->first, error)
      && get_faces (self, image, masks, faces, &all, error))
    fitted = fit_all (self, image, width, height, masks, faces, &all, error);
  for (guint i = 0; i < G_N_ELEMENTS (masks); i++)
    g_clear_pointer (&masks[i], avatar_image_free);
  if (!fitted)
    return NULL;
  gst_avatar_report_face (GST_ELEMENT (self),
      props->face_box && *props->face_box ? "face-box" : "detector", &faces->first, fitted->width,
      fitted->height);
  return fitted;
}

/* Fits the portrait around the face box of the user. @face: (out): the box on the fitted
 * picture. */
static AvatarImage *
fit_user_box (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const AvatarBox *user_box, AvatarFaceBox *face, GError **error)
{
  AvatarModel *model = self->client.engine->model;
  AvatarBox box = *user_box;
  const gdouble shrunk = MAX (image->shrunk, 1);
  AvatarImage *fitted = avatar_image_fit (image, model, width, height, &box, error);

  if (!fitted)
    return NULL;
  *face = (AvatarFaceBox){ box.x, box.y, box.width, box.height };
  gst_avatar_report_face (GST_ELEMENT (self), "face-box", face, fitted->width, fitted->height);
  if (avatar_image_is_cropped (image, model, width, height))
    gst_avatar_reference_check_face (GST_ELEMENT (self), image, fitted, user_box->width / shrunk,
        user_box->height / shrunk);
  return fitted;
}

/* Fits the portrait around the face that the detector finds, or around its centre. */
static AvatarImage *
fit_found (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  AvatarModel *model = self->client.engine->model;
  AvatarFaceSearch result = find_face (self, image, width, height, face, error);
  const AvatarFaceBox found = *face;
  gboolean cropped = avatar_image_is_cropped (image, model, width, height);
  AvatarImage *fitted = NULL;

  if (result != AVATAR_FACE_ERROR)
    fitted = avatar_image_fit_face (image, model, width, height, face, error);
  if (!fitted)
    return NULL;
  gst_avatar_report_face (GST_ELEMENT (self), result == AVATAR_FACE_FOUND ? "detector" : "none",
      face, fitted->width, fitted->height);
  if (result == AVATAR_FACE_FOUND && cropped)
    gst_avatar_reference_check_face (GST_ELEMENT (self), image, fitted, found.width, found.height);
  else if (result != AVATAR_FACE_FOUND)
    gst_avatar_reference_warn_no_face (GST_ELEMENT (self), image, self->client.engine->info, result,
        cropped ? GST_AVATAR_FIT_CROPPED : GST_AVATAR_FIT_WHOLE);
  return fitted;
}

void
gst_avatar_denoise_measure (GstAvatarDenoise *self, const AvatarImage *fitted)
{
  const AvatarModelInfo *info = self->client.engine->info;
  g_autoptr (GError) error = NULL;
  gdouble psnr;

  if (info->portrait_psnr <= 0 || fitted->width != info->width || fitted->height != info->height)
    return; /* the limit is that of the model's own size */
  if (!avatar_image_measure (fitted, self->client.engine->model, self->client.engine->device, &psnr,
          &error))
    gst_avatar_report_warning (self, g_steal_pointer (&error));
  else if (psnr < info->portrait_psnr)
    gst_avatar_reference_warn_unknown (GST_ELEMENT (self), info, psnr);
}

/* Fits the portrait around its only face, or around its centre. */
static AvatarImage *
fit_one (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const GstAvatarDenoiseProps *props, AvatarFaceBox *face, GError **error)
{
  AvatarBox box;

  if (!gst_avatar_box_parse (props->face_box, &box, error))
    return NULL;
  return box.width > 0 ? fit_user_box (self, image, width, height, &box, face, error)
                       : fit_found (self, image, width, height, face, error);
}

AvatarImage *
gst_avatar_denoise_fit (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const GstAvatarDenoiseProps *props, GstAvatarFaces *faces, GError **error)
{
  AvatarImage *fitted;

  *faces = (GstAvatarFaces){ 0 };
  fitted = self->voices->len > 0
      ? fit_speakers (self, image, width, height, props, faces, error)
      : fit_one (self, image, width, height, props, &faces->first, error);
  if (fitted)
    gst_avatar_reference_check_face_size (GST_ELEMENT (self), &faces->first, fitted,
        self->client.engine->info);
  return fitted;
}
