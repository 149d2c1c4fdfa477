/** What the server and the page say to each other. */

export interface Person {
  readonly id: number
  readonly name: string
  readonly team: string
}

export interface DocumentLink {
  readonly id: number
  readonly title: string
  readonly unread: number
}

export interface Home {
  readonly server: string
  readonly user: Person
  readonly documents: readonly DocumentLink[]
}

export interface CommentView {
  readonly id: number
  readonly documentId: number
  readonly body: string
  readonly author: string
  readonly authorId: number
  readonly at: string
}

export interface DocumentView {
  readonly id: number
  readonly title: string
  readonly body: string
  readonly owner: string
  readonly team: string
  readonly mayComment: boolean
  /** The newest ones, oldest first. */
  readonly comments: readonly CommentView[]
  readonly commentCount: number
}

/** The events of `/api/events`, by their names. */
export interface Events {
  readonly comment: CommentView
  readonly unread: { readonly documentId: number; readonly unread: number }
  /** What the user may do has changed, or changes were missed: read it all again. */
  readonly reload: { readonly documentId: number | null }
  readonly panel: Panel
}

export interface Panel {
  readonly state: string
  readonly position: string | null
  readonly stalenessMs: number
  readonly hits: number
  readonly misses: number
  /** How long all reads of the last request took. */
  readonly lastReadMs: number
  readonly rows: number
  readonly bytes: number
}
