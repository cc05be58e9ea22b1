package lustre

// Sequences with a meaning of their own (enum fid_seq of lustre_idl.h).
const (
	SeqOSTMDT0      = 0
	SeqLLOG         = 1
	SeqEcho         = 2
	SeqLLOGName     = 10
	SeqReserved     = 11
	SeqIGIF         = 12
	SeqIGIFMax      = 0xffffffff
	SeqIDIF         = 0x100000000
	SeqIDIFMax      = 0x1ffffffff
	SeqStart        = 0x200000000
	SeqLocalFile    = 0x200000001
	SeqDotLustre    = 0x200000002
	SeqLocalName    = 0x200000003
	SeqSpecial      = 0x200000004
	SeqQuota        = 0x200000005
	SeqQuotaGlobal  = 0x200000006
	SeqRoot         = 0x200000007
	SeqLayoutRBTree = 0x200000008
	SeqUpdateLog    = 0x200000009
	SeqUpdateLogDir = 0x20000000a
	SeqNormal       = 0x200000400
)

// Objects that every file system has.
var (
	FIDRoot          = FID{Seq: SeqRoot, OID: 1}
	FIDDotLustre     = FID{Seq: SeqDotLustre, OID: 1}
	FIDDotLustreFID  = FID{Seq: SeqDotLustre, OID: 2} // .lustre/fid, where objects are opened by FID
	FIDDotLustreLost = FID{Seq: SeqDotLustre, OID: 3} // .lustre/lost+found
)

// Numbers of files that each target has for itself, in SeqLocalFile (enum local_oid of lustre_fid.h).
const (
	OIDFLD             = 3
	OIDSeqCtl          = 4
	OIDSeqSrv          = 5
	OIDLastRcvd        = 11
	OIDFSRoot          = 13
	OIDLFSCKBookmark   = 17
	OIDBackendLost     = 19
	OIDReplyData       = 21
	OIDIndexBackup     = 4116
	OIDCatalogs        = 4118
	OIDConfigs         = 4119
	OIDLFSCKNamespace  = 4122
	OIDRemoteParentDir = 4123
	OIDBatchID         = 4125
)

// LocalFID is the FID of a file that each target has for itself.
func LocalFID(oid uint32) FID { return FID{Seq: SeqLocalFile, OID: oid} }

// IGIF is the FID of an object that is older than FIDs, or that needs none: its inode number and generation.
func IGIF(ino, generation uint32) FID { return FID{Seq: uint64(ino), OID: generation} }

// IsIGIF reports whether the FID is made of inode number and generation.
func (f FID) IsIGIF() bool { return f.Seq >= SeqIGIF && f.Seq <= SeqIGIFMax }

// IsIDIF reports whether the FID is that of an old OST object.
func (f FID) IsIDIF() bool { return f.Seq >= SeqIDIF && f.Seq <= SeqIDIFMax }

// IsRoot reports whether the object is the root of the file system (since Lustre 2.4; before, it was an IGIF).
func (f FID) IsRoot() bool { return f == FIDRoot }

// IsDotLustre reports whether the object is .lustre or belongs to it (.lustre/fid, .lustre/lost+found).
func (f FID) IsDotLustre() bool { return f.Seq == SeqDotLustre }

// IsLLOG reports whether the object is a log, named or not. Number 0 is a LAST_ID file rather than a log.
func (f FID) IsLLOG() bool {
	return (f.Seq == SeqLLOG || f.Seq == SeqLLOGName || f.Seq == SeqUpdateLog || f.Seq == SeqUpdateLogDir) && f.OID != 0
}

// IsLocal reports whether every target has its own object of that FID, so that it means nothing outside of one target.
// .lustre and the root do not belong here; IGIFs are told apart by IsIGIF.
func (f FID) IsLocal() bool {
	if f.Seq < SeqIGIF {
		return true
	}
	return f.Seq >= SeqStart && f.Seq < SeqNormal && f.Seq != SeqDotLustre && f.Seq != SeqRoot
}

// IsNormal reports whether the FID was given to a client or target from the space that FLD maps.
func (f FID) IsNormal() bool { return f.Seq >= SeqNormal }

// IsLastID reports whether the object is a LAST_ID file, which no object index holds.
func (f FID) IsLastID() bool {
	if f.OID != 0 || f.IsIDIF() && f.Seq&0xffff != 0 {
		return false
	}
	return f.Seq != SeqUpdateLog && f.Seq != SeqUpdateLogDir && !f.IsIGIF()
}

// Visible reports whether clients may see an object of that FID in the namespace.
func (f FID) Visible() bool {
	return !f.IsLastID() && (f.IsNormal() || f.IsIGIF()) || f.IsRoot() || f.IsDotLustre()
}

// Sane reports whether Lustre would accept the FID at all (fid_is_sane).
func (f FID) Sane() bool {
	return f.Seq >= SeqStart && f.Ver == 0 || f.IsIGIF() || f.IsIDIF() || f.Seq > SeqOSTMDT0 && f.Seq <= SeqReserved
}

// Class is one word for the range the FID lies in, for people.
func (f FID) Class() string {
	switch {
	case f.IsZero():
		return "zero"
	case f.IsIGIF():
		return "igif"
	case f.IsIDIF():
		return "idif"
	case f.IsRoot():
		return "root"
	case f.IsDotLustre():
		return "dot-lustre"
	case f.IsLastID() && !f.IsNormal():
		return "last-id"
	case f.IsLLOG():
		return "llog"
	case f.Seq == SeqQuota || f.Seq == SeqQuotaGlobal:
		return "quota"
	case f.IsNormal():
		return "normal"
	case f.IsLocal():
		return "local"
	}
	return "unknown"
}
