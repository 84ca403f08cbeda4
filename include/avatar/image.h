/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portraits: loading, and fitting to a size the model can make. */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * AvatarImage: 8-bit RGB or RGBA picture, rows of @stride bytes from the top. Owns @data.
 * @shrunk: pixels of the file for each of these along a side; 0 as 1
 */
typedef struct
{
  guint width, height, stride, channels;
  guint8 *data;
  guint shrunk;
} AvatarImage;

/* A rectangle in pixels; all zero = not given. */
typedef struct
{
  guint x, y, width, height;
} AvatarBox;

/* The same where edges may lie between pixels. May reach beyond the picture. */
typedef struct
{
  double x, y, width, height;
} AvatarFaceBox;

/* PNG or JPEG; the EXIF orientation is applied (docs/guide/portraits.md). */
AVATAR_API AvatarImage *avatar_image_load (const char *path, GError **error);
/* A copy of @width x @height pixels at @data. @channels: 3 (RGB) or 4 (RGBA). */
AVATAR_API AvatarImage *avatar_image_new (guint width, guint height, guint channels, guint stride,
    const guint8 *data, GError **error);
AVATAR_API void avatar_image_free (AvatarImage *image);

/**
 * avatar_image_fit:
 * @image: the portrait
 * @width, @height: the size to make; both 0: the model's choice
 *
 * Alpha is blended over mid-grey. The picture is cropped to the shape of the size and scaled with a
 * Lanczos filter. The crop is around the centre; where the face would come closer to its edges than
 * half of its width or height, it moves as far as is needed, by whole pixels. Models that make
 * videos of several shapes, as the released one, choose the size after the portrait's: all of it is
 * seen then, and its shape changes by what rounding to @size_multiple or more asks for. Others have
 * one size.
 * @box: (inout) (optional): the face in pixels of the file, all of it on the portrait; on return,
 *   as much of it as is seen on the result
 *
 * Returns: (transfer full): an RGB picture whose sides are multiples of the model's
 * @size_multiple
 */
AVATAR_API AvatarImage *avatar_image_fit (const AvatarImage *image, AvatarModel *model, guint width,
    guint height, AvatarBox *box, GError **error);
/* The same around a face of avatar_image_find_face(). @face: (inout): on @image, on return on the
 * result, neither rounded nor clipped; all zero: none. */
AVATAR_API AvatarImage *avatar_image_fit_face (const AvatarImage *image, AvatarModel *model,
    guint width, guint height, AvatarFaceBox *face, GError **error);
/* TRUE: avatar_image_fit() leaves out a part of @image. */
AVATAR_API gboolean avatar_image_is_cropped (const AvatarImage *image, AvatarModel *model,
    guint width, guint height);

/**
 * AvatarFaceSearch:
 * @AVATAR_FACE_NONE: the detector found no face
 * @AVATAR_FACE_NO_DETECTOR: the model has none
 */
typedef enum
{
  AVATAR_FACE_FOUND,
  AVATAR_FACE_NONE,
  AVATAR_FACE_NO_DETECTOR,
  AVATAR_FACE_ERROR,
} AvatarFaceSearch;

/**
 * avatar_image_find_face:
 * @image: the portrait, all of which is searched
 * @model: whose detector (det_align/detface.pt of the release) is read, used and forgotten
 * @width, @height: of the video, as in avatar_image_fit(); the detector sees the portrait at its scale
 * @box: (out): the largest face, in pixels of @image; all zero where there is none
 * @error: set with AVATAR_FACE_ERROR only
 *
 * Takes a second or two on a CPU, which computes it for any @device, and memory of some hundred MiB.
 */
AVATAR_API AvatarFaceSearch avatar_image_find_face (const AvatarImage *image, AvatarModel *model,
    AvatarDevice *device, guint width, guint height, AvatarFaceBox *box, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarImage, avatar_image_free)

G_END_DECLS
