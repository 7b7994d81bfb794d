package fs

import "hbmfs/fs/uapi"

func (t *tree) ioctlInfo(cmd uint32, in, out []byte) error {
	if err := uapi.DecodeInfo(cmd, in); err != nil {
		return err
	}
	info := t.info()
	info.Size = uint32(len(out)) // what the caller knows of it
	uapi.EncodeInfo(out, &info)
	return nil
}

func (t *tree) info() uapi.Info {
	c := &t.cfg
	info := uapi.Info{
		ABIVersion: uapi.ABIVersion, ExtentSize: uint64(c.Extent),
	}
	for feature, on := range map[uint64]bool{
		uapi.FeatureChecksums: c.Checksums, uapi.FeatureStrict: c.Strict, uapi.FeatureRequireDirect: c.RequireDirect,
	} {
		if on {
			info.Features |= feature
		}
	}
	for i, d := range c.Cache.Devices()[:min(len(c.Cache.Devices()), uapi.MaxDevices)] {
		out := &info.Devices[i]
		out.ID, out.Pool = uint32(i), uint64(d.Pool)
		uapi.PutCString(out.Name[:], d.Provider.Name())
		if d.Provider.CPU() {
			out.Flags = uapi.DeviceCPU
		}
		info.DeviceCount++
	}
	transports := t.target.Transports()
	for i, v := range transports[:min(len(transports), uapi.MaxTransports)] {
		tr := &info.Transports[i]
		tr.Path = uint32(v.Path)
		uapi.PutCString(tr.Name[:], v.Name)
		if v.Err != nil {
			uapi.PutCString(tr.Reason[:], v.Err.Error())
		} else {
			tr.Flags |= uapi.TransportUsable
		}
		if v.Chosen {
			tr.Flags |= uapi.TransportChosen
		}
		if v.Plan.Encrypted {
			tr.Flags |= uapi.TransportEncrypted
		}
		info.TransportCount++
	}
	return info
}
