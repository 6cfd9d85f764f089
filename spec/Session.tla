------------------------------------ MODULE Session ------------------------------------
\* How a session is written, and how far its cached copies are believed. README.md says what is left out.
\*
\* A client sends up to three requests at once, all with the cookie of key 0. Each runs in a process of its own. No step is
\* ever obliged to be taken: a process that stops for ever before one of its steps is a process that has crashed there.
\*
\* A comment with a file and a function of packages/core/src, or a method of packages/cached-db, names what a step stands for.
EXTENDS Naturals

CONSTANTS
  Requests,             \* 1..2 or 1..3
  First, Second, Third, \* what each does: "read", "save", "shorten", "renew", "login", "flush" or "resume"
  Cached,               \* whether there is a cache in front of the database
  FreshFor,             \* for how many ticks a copy is believed
  MaxLost,              \* how many answers of the database are lost at the most
  \* The rules. All are TRUE; with one that is FALSE the model shows what it is good for.
  SavesOnCondition, RenewsOnCondition, EndsOnCondition, LooksBeforeRepeating,
  FillsByReservation, CountsFromTheCall, BeliefEnds, WaitsUntilStale,
  TellsWhatItFinds, EndsTheMissing, CopiesTheConfirmed, LooksInTheDatabase

VARIABLES
  db,      \* key -> record
  late,    \* writes that their requests have given up, and that may still arrive
  lost,    \* how many there have been
  cache,   \* what the cache has under key 0; the key that a login makes is known to nobody else
  pc,      \* request -> its next step
  at,      \* request -> where it is within that step, between the database and the cache
  seen,    \* request -> the record that it goes by
  unsure,  \* request -> a write of its own may have been made, or may yet be
  got,     \* request -> what the database has just said, while the cache has not heard of it
  age,     \* request -> the ticks since the database said so
  died,    \* key -> "no", or how it died: "ended", "moved", "abandoned". Only the promises read it,
  heir     \* and this: the key that the session of key 0 was moved to; 0 if it was not

vars == <<db, late, lost, cache, pc, at, seen, unsure, got, age, died, heir>>

----------------------------------------------------------------------------------------
\* Records and entries.

kind == <<First, Second, Third>>
Keys == Requests \union {0} \* a login of request r makes key r

\* A login that cannot find out whether it has retired the old key tells the client both keys. The next request resumes it.
CanResume == \E r \in Requests : kind[r] = "resume"
NewKey(r) == IF kind[r] = "resume" THEN CHOOSE login \in Requests : kind[login] = "login" ELSE r

\* Data is how often each request's change is in it. To merge is to make one's own on the newest.
Empty == [r \in Requests |-> 0]
With(data, r) == [data EXCEPT ![r] = IF @ < 2 THEN @ + 1 ELSE @]

\* The session ends at 2; when it was renewed, at 3; if a request has asked for that, at 1.
IsShort(data) == \E r \in Requests : kind[r] = "shorten" /\ data[r] > 0
Live(data, usual) == [is |-> "live", data |-> data, end |-> IF IsShort(data) THEN 1 ELSE usual]
Absent == [is |-> "absent", data |-> Empty, end |-> 0]
Retired(r) == [is |-> "retired", data |-> Empty, end |-> r] \* its end tells whose it is: end.ts: isOwnRetirement

\* What the cache has. A stale copy is as nothing.
Nothing == [is |-> "nothing", by |-> 0, rec |-> Absent, age |-> 0]
Reservation(r) == [is |-> "reservation", by |-> r, rec |-> Absent, age |-> 0]
Copy(rec, old) ==
  IF old < FreshFor \/ ~BeliefEnds THEN [is |-> "copy", by |-> 0, rec |-> rec, age |-> old] ELSE Nothing

----------------------------------------------------------------------------------------
\* The database. Each of its calls is atomic.

Writes == {"save", "renew", "create", "rewrite", "own", "retire", "end", "abandon", "carry", "finish"}
Loads == {"open", "reload", "look", "lookOld", "lookEnded"}

\* The write that request r makes in this step.
WriteOf(r) ==
  LET write(key, rec) == [by |-> r, step |-> pc[r], key |-> key, from |-> seen[r], rec |-> rec]
      merged == With(seen[r].data, r)
  IN CASE pc[r] = "save"    -> write(0, Live(merged, 2))            \* save.ts: saveTogether
       [] pc[r] = "renew"   -> write(0, Live(seen[r].data, 3))      \* writer.ts: renew
       [] pc[r] = "create"  -> write(r, Live(merged, 2))            \* create.ts: createRecord
       [] pc[r] = "rewrite" -> write(r, Live(merged, 2))            \* move.ts: putAside
       [] pc[r] = "own"     -> write(r, Live(With(Empty, r), 2))    \* move.ts: moveNewest
       [] pc[r] = "retire"  -> write(0, Retired(r))                 \* move.ts: retire
       [] pc[r] = "end"     -> write(0, Absent)                     \* end.ts: endKey
       [] pc[r] = "abandon" -> write(NewKey(r), Absent)             \* move.ts: abandon
       [] pc[r] = "carry"   -> write(NewKey(r), Live(seen[r].data, 2)) \* load.ts: resolve
       [] pc[r] = "finish"  -> write(0, Retired(NewKey(r)))         \* load.ts: resolve

\* Whether the database takes it. What is not conditional needs a live record all the same, but for a delete.
Takes(w) ==
  LET rec == db[w.key]
      isLive == rec.is = "live"
      isSame == isLive /\ rec.data = w.from.data
  IN CASE w.step = "save"   -> isSame \/ (isLive /\ ~SavesOnCondition)
       [] w.step = "renew"  -> isLive /\ (rec.end = w.from.end \/ ~RenewsOnCondition)
       [] w.step = "end"    -> isSame \/ ~EndsOnCondition
       [] w.step \in {"retire", "finish"} -> isSame
       [] OTHER             -> TRUE

Effect(w) ==
  /\ db' = [db EXCEPT ![w.key] = IF w.step = "renew" THEN [@ EXCEPT !.end = w.rec.end] ELSE w.rec]
  /\ died' = [died EXCEPT ![w.key] = CASE w.step = "end"     -> "ended"
                                       [] w.step \in {"retire", "finish"} -> "moved"
                                       [] w.step = "abandon" -> "abandoned"
                                       [] OTHER              -> @]
  /\ heir' = IF w.step \in {"retire", "finish"} THEN NewKey(w.by) ELSE heir

\* A write that its request has given up arrives after all.
Arrive(w) ==
  /\ late' = late \ {w}
  /\ IF Takes(w) THEN Effect(w) ELSE UNCHANGED <<db, died, heir>>
  /\ UNCHANGED <<lost, cache, pc, at, seen, unsure, got, age>>

----------------------------------------------------------------------------------------
\* What a request does next. It is acknowledged when it is "done" and "ready".

Becomes(r, step, where, old, rec) ==
  /\ pc' = [pc EXCEPT ![r] = step]
  /\ at' = [at EXCEPT ![r] = where]
  /\ age' = [age EXCEPT ![r] = old]
  /\ got' = [got EXCEPT ![r] = rec]

Go(r, step) == Becomes(r, step, "ready", FreshFor, Absent)

\* The cache is to hear first of what the database has said.
GoTelling(r, step, rec) == IF Cached THEN Becomes(r, step, "tell", 0, rec) ELSE Go(r, step)

\* The cache does not hear of it.
GoUntold(r, step) == IF Cached THEN Becomes(r, step, "ready", 0, Absent) ELSE Go(r, step)

\* It has loaded `rec`.
Loaded(r, rec) ==
  LET isLive == rec.is = "live"
      isAbsent == rec.is = "absent"
      isSame == isLive /\ rec.data = seen[r].data
      isOwn == rec.end = r /\ unsure[r] /\ LooksBeforeRepeating
  IN
  /\ seen' = [seen EXCEPT ![r] = IF isLive /\ kind[r] # "read" THEN rec ELSE @]
  /\ unsure' = [unsure EXCEPT ![r] = @ /\ (pc[r] # "lookOld" \/ isSame \/ ~isLive)]
  /\ CASE pc[r] = "open" /\ kind[r] = "read" -> Go(r, "open")
       [] pc[r] = "open" /\ kind[r] = "resume" ->                   \* load.ts: resolve
            IF isLive THEN Go(r, "carry")
            ELSE IF isAbsent THEN Go(r, "abandon")
            ELSE IF TellsWhatItFinds THEN GoTelling(r, "done", rec) ELSE Go(r, "done")
       [] pc[r] = "open" /\ kind[r] \notin {"read", "resume"} ->     \* load.ts: judge
            IF isLive THEN Go(r, CASE kind[r] = "renew" -> "renew"  \* plan.ts: plan
                                   [] kind[r] = "login" -> "create"
                                   [] kind[r] = "flush" -> "end"
                                   [] OTHER             -> "save")
            ELSE IF ~isAbsent \/ kind[r] # "flush" THEN Go(r, "failed")
            ELSE IF EndsTheMissing THEN GoTelling(r, "done", rec) ELSE Go(r, "done") \* standing.ts: condemn
       [] pc[r] = "reload" -> Go(r, IF isLive THEN "save" ELSE "failed") \* save.ts: reload
       [] pc[r] = "look" ->                                         \* writer.ts: hasArrived
            IF isLive /\ rec.data = With(seen[r].data, r) THEN GoUntold(r, "done")
            ELSE Go(r, IF isSame THEN "save" ELSE "failed")
       [] pc[r] = "lookOld" ->                                      \* move.ts: retire
            IF isLive THEN Go(r, IF isSame THEN "retire" ELSE "rewrite")
            ELSE IF isAbsent THEN Go(r, "abandon")
            ELSE IF TellsWhatItFinds THEN GoTelling(r, IF isOwn THEN "done" ELSE "own", rec)
            ELSE Go(r, IF isOwn THEN "done" ELSE "own")
       [] pc[r] = "lookEnded" ->                                    \* end.ts: endKey
            IF isLive THEN Go(r, "end")
            ELSE IF ~isAbsent THEN Go(r, "failed")
            ELSE IF TellsWhatItFinds THEN GoTelling(r, "done", rec) ELSE Go(r, "done")

\* A renewal is not told what the data is: it has that of the copy that it started from, and that stays as old as it is.
Renewed(r, end) ==
  IF got[r].is = "live"
  THEN Becomes(r, "done", "tell", IF CopiesTheConfirmed THEN age[r] ELSE 0, [got[r] EXCEPT !.end = end])
  ELSE Becomes(r, "done", "tell", 0, [Absent EXCEPT !.is = "unknown"])

\* The database has taken its write.
Taken(r, w) ==
  CASE pc[r] \in {"save", "retire", "end", "finish"} -> GoTelling(r, "done", w.rec)
    [] pc[r] = "renew" /\ Cached      -> Renewed(r, w.rec.end)
    [] pc[r] = "renew" /\ ~Cached     -> Go(r, "done")
    [] pc[r] \in {"create", "rewrite"} -> Go(r, "retire")
    [] pc[r] = "carry"                 -> Go(r, "finish")
    [] pc[r] = "own"                   -> Go(r, "done")
    [] pc[r] = "abandon"               -> Go(r, "failed")

\* The database has refused its write: another request was there.
Refused(r) ==
  CASE pc[r] = "save"   -> Go(r, IF unsure[r] THEN "failed" ELSE "reload") \* save.ts: cannotBeTold
    [] pc[r] = "renew"  -> Go(r, "done")                            \* writer.ts: renew
    [] pc[r] = "retire" -> Go(r, "lookOld")
    [] pc[r] = "end"    -> Go(r, "lookEnded")
    [] pc[r] = "finish" -> Go(r, "open")

\* The answer to its write is lost.
Unheard(r) ==
  CASE pc[r] = "save"   -> Go(r, IF LooksBeforeRepeating THEN "look" ELSE "reload") \* writer.ts: writeAfterDoubt
    [] pc[r] = "retire" -> Go(r, "lookOld") \/ (CanResume /\ Go(r, "doubt")) \* move.ts: standInDoubt
    [] pc[r] = "end"    -> Go(r, "end")                             \* writer.ts: endCondemned
    [] OTHER            -> Go(r, "failed")

----------------------------------------------------------------------------------------
\* The store: a database, and perhaps a cache in front of it. Any call of the cache may fail for any process: for as long as a
\* process takes none of the steps in which its calls succeed, it is cut off.

MayLoad(r) == pc[r] \in Loads /\ at[r] = "ready" /\ (kind[r] = "resume" => pc[NewKey(r)] = "doubt")

\* cached-db: load. The database alone is asked: the cache is away, or has somebody's reservation.
Load(r) ==
  /\ MayLoad(r)
  /\ Loaded(r, db[0])
  /\ UNCHANGED <<db, late, lost, cache, died, heir>>

\* cached-db: load. A copy is believed, but not by a request that looks what has become of its write (cached-db: loadLatest).
Believe(r) ==
  /\ MayLoad(r) /\ cache.is = "copy"
  /\ LooksInTheDatabase => (pc[r] = "open" /\ kind[r] # "resume")
  /\ Loaded(r, cache.rec)
  /\ UNCHANGED <<db, late, lost, cache, died, heir>>

\* cached-db: load, save, touch. A load reserves where there is nothing, a write whatever there is.
Reserve(r) ==
  /\ Cached /\ at[r] = "ready"
  /\ \/ MayLoad(r) /\ cache.is = "nothing" /\ at' = [at EXCEPT ![r] = "fetch"]
     \/ pc[r] \in {"save", "renew", "retire", "finish"} /\ at' = [at EXCEPT ![r] = "write"]
  /\ cache' = Reservation(r)
  /\ LET isFrom == pc[r] = "renew" /\ cache.is = "copy" /\ cache.rec.end = seen[r].end \* cached-db: reserveTouched
     IN /\ got' = [got EXCEPT ![r] = IF isFrom THEN cache.rec ELSE @]
        /\ age' = [age EXCEPT ![r] = IF isFrom THEN cache.age ELSE @]
  /\ UNCHANGED <<db, late, lost, pc, seen, unsure, died, heir>>

\* The load asks the database,
Fetch(r) ==
  /\ at[r] = "fetch"
  /\ Becomes(r, pc[r], "fill", 0, db[0])
  /\ UNCHANGED <<db, late, lost, cache, seen, unsure, died, heir>>

\* and puts a copy where its reservation is, if that is still there.
Fill(r) ==
  /\ at[r] = "fill"
  /\ Loaded(r, got[r])
  /\ \/ UNCHANGED cache
     \/ /\ cache = Reservation(r) \/ (cache = Nothing /\ ~FillsByReservation)
        /\ cache' = IF got[r].is = "live" THEN Copy(got[r], IF CountsFromTheCall THEN age[r] ELSE 0) ELSE Nothing
  /\ UNCHANGED <<db, late, lost, died, heir>>

\* cached-db: create, save, touch. With a reservation, or without one if the cache is away; an end needs none.
Put(r) ==
  /\ pc[r] \in Writes /\ at[r] \in {"ready", "write"}
  /\ LET w == WriteOf(r)
     IN IF Takes(w) THEN Effect(w) /\ Taken(r, w) ELSE UNCHANGED <<db, died, heir>> /\ Refused(r)
  /\ UNCHANGED <<late, lost, cache, seen, unsure>>

PutUnheard(r) ==
  /\ pc[r] \in Writes /\ at[r] \in {"ready", "write"} /\ lost < MaxLost
  /\ late' = late \union {WriteOf(r)}
  /\ lost' = lost + 1
  /\ unsure' = [unsure EXCEPT ![r] = TRUE]
  /\ Unheard(r)
  /\ UNCHANGED <<db, cache, seen, died, heir>>

\* The cache hears of what the database has said: a copy where the reservation is, or else nothing. A dead key needs no copy.
Tell(r) ==
  /\ at[r] = "tell"
  /\ cache' = IF cache = Reservation(r) /\ got[r].is = "live" THEN Copy(got[r], age[r]) ELSE Nothing
  /\ Go(r, pc[r])
  /\ UNCHANGED <<db, late, lost, seen, unsure, died, heir>>

\* The cache is away. A change is acknowledged all the same,
TellInVain(r) ==
  /\ at[r] = "tell"
  /\ at' = [at EXCEPT ![r] = IF got[r].is \in {"absent", "retired"} /\ WaitsUntilStale THEN "wait" ELSE "ready"]
  /\ UNCHANGED <<db, late, lost, cache, pc, seen, unsure, got, age, died, heir>>

\* an end when every copy that may have been made before is stale.
WaitIsOver(r) ==
  /\ at[r] = "wait" /\ age[r] = FreshFor
  /\ Go(r, pc[r])
  /\ UNCHANGED <<db, late, lost, cache, seen, unsure, died, heir>>

\* The cache loses what it has.
Evict ==
  /\ cache # Nothing
  /\ cache' = Nothing
  /\ UNCHANGED <<db, late, lost, pc, at, seen, unsure, got, age, died, heir>>

Older(old) == IF old < FreshFor THEN old + 1 ELSE old

\* Time goes by, for all alike.
Tick ==
  /\ Cached
  /\ age' = [r \in Requests |-> Older(age[r])]
  /\ cache' = IF cache.is = "copy" THEN Copy(cache.rec, Older(cache.age)) ELSE cache
  /\ UNCHANGED <<db, late, lost, pc, at, seen, unsure, got, died, heir>>

----------------------------------------------------------------------------------------
Init ==
  /\ db = [k \in Keys |-> IF k = 0 THEN Live(Empty, 2) ELSE Absent]
  /\ late = {}
  /\ lost = 0
  /\ cache = Nothing
  /\ pc = [r \in Requests |-> "open"]
  /\ at = [r \in Requests |-> "ready"]
  /\ seen = [r \in Requests |-> Absent]
  /\ unsure = [r \in Requests |-> FALSE]
  /\ got = [r \in Requests |-> Absent]
  /\ age = [r \in Requests |-> FreshFor]
  /\ died = [k \in Keys |-> "no"]
  /\ heir = 0

Next ==
  \/ \E r \in Requests :
       \/ Load(r) \/ Believe(r) \/ Reserve(r) \/ Fetch(r) \/ Fill(r)
       \/ Put(r) \/ PutUnheard(r) \/ Tell(r) \/ TellInVain(r) \/ WaitIsOver(r)
  \/ \E w \in late : Arrive(w)
  \/ Evict
  \/ Tick

----------------------------------------------------------------------------------------
\* What is promised.

Acknowledged(r) == pc[r] = "done" /\ at[r] = "ready" \* turn.ts: acknowledge
Told(r) == IF kind[r] = "login" THEN r ELSE 0        \* the key that the client then has
Home(k) == IF k = 0 THEN heir ELSE k                 \* where the session of that key is

TypeOK ==
  /\ \A k \in Keys : db[k].is \in {"live", "absent", "retired"}
  /\ cache.is \in {"nothing", "reservation", "copy"} /\ cache.age \in 0..FreshFor
  /\ \A r \in Requests :
       /\ pc[r] \in Loads \union Writes \union {"done", "failed", "doubt"}
       /\ at[r] \in {"ready", "fetch", "fill", "write", "tell", "wait"}
       /\ age[r] \in 0..FreshFor
  /\ heir \in Keys

\* An acknowledged change is in the session, until somebody ends it.
NoLostUpdate ==
  \A r \in Requests : (Acknowledged(r) /\ kind[r] \in {"save", "shorten", "login"}) =>
    LET home == Home(Told(r))
    IN (db[home].is = "live" /\ db[home].data[r] > 0) \/ died[home] = "ended"

\* No change is made twice.
NothingTwice == \A k \in Keys, r \in Requests : db[k].data[r] < 2

\* An acknowledged shorter life is not made longer again.
NoLongerLife ==
  \A r \in Requests : (Acknowledged(r) /\ kind[r] = "shorten" /\ db[Home(0)].is = "live") => db[Home(0)].end = 1

\* A key that was ended or retired is never live again.
NoResurrection == \A k \in Keys : died[k] # "no" => db[k].is # "live"

\* What a key opens: in the database, or for whoever believes a copy.
Opens(k) == db[k].is = "live" \/ (k = 0 /\ cache.is = "copy" /\ cache.rec.is = "live")

\* After an acknowledged logout nothing opens the session, under whatever key; after an acknowledged login nothing opens the old key.
NoLogoutThatOpens ==
  \A r \in Requests : Acknowledged(r) =>
    ~(kind[r] \in {"login", "resume"} /\ Opens(0)) /\ ~(kind[r] = "flush" /\ (Opens(0) \/ Opens(Home(0))))

\* Once FreshFor has gone by, and at once if the cache was told, an acknowledged change is in every copy.
NoStaleCopy ==
  \A r \in Requests : (Acknowledged(r) /\ kind[r] = "save" /\ age[r] = FreshFor) =>
    (cache.is # "copy" \/ cache.rec.data[r] > 0)

----------------------------------------------------------------------------------------
\* What can happen: each of these is violated, or the promises would be kept by a model that does nothing.

AllDone == \A r \in Requests : Acknowledged(r)
NeverAllDone == ~AllDone
NeverMoved == ~(AllDone /\ heir # 0)
NeverMovedElsewhere == ~\E r \in Requests : Acknowledged(r) /\ kind[r] = "login" /\ heir \notin {0, r}
NeverAbandoned == ~\E k \in Keys : died[k] = "abandoned"
NeverFoundAfterDoubt == ~\E r \in Requests : Acknowledged(r) /\ kind[r] # "flush" /\ unsure[r]
NeverTooLate == ~\E w \in late : ~Takes(w)
NeverResumed == ~\E r \in Requests : Acknowledged(r) /\ kind[r] = "resume" /\ heir # 0
NeverCopied == cache.is # "copy"
NeverBelievedAfterwards == ~(cache.is = "copy" /\ died[0] # "no")
NeverWaited == ~\E r \in Requests : at[r] = "wait" /\ age[r] = FreshFor
========================================================================================
